"""After a crash: how the record of a call reads that was live when the process died."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from engine.outcome import ENGINE_RESTARTED
from engine.records import CallRecord, Status


def made_final(call: CallRecord, now: datetime, *, max_duration_s: float) -> CallRecord:
    """The call's final record. ``max_duration_s`` holds for one that set no limit of its own.

    Nobody saw the end: the workers hung up with the process, and no call outlives its limit.
    """
    ended_at, status = now, Status.FAILED
    if call.answered_at is not None:
        limit = timedelta(seconds=call.request.max_duration_s or max_duration_s)
        ended_at = max(call.answered_at, min(now, call.answered_at + limit))  # the clock may have been set back
        status = Status.COMPLETED
    ai = call.ai.ended(ended_at) if call.ai is not None else None
    return replace(call, status=status, ended_at=ended_at, outcome=ENGINE_RESTARTED, ai=ai)
