"""Recovery of records that say that a call is live although nothing carries it, as after a crash: makes them final."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from engine.calls.call_store import CallStore
from engine.calls.ledger import final_kinds
from engine.errors import StoreUnavailable
from engine.outcome import ENGINE_RESTARTED, Outcome, engine_error
from engine.records import CallChange, CallId, CallRecord, Status

log = logging.getLogger("trunkline.engine")

_REFUSED = engine_error("The store failed when the call was accepted, but kept its record. It was never dialled.")


class Recovery:
    """``max_duration_s`` applies to a call that set no limit itself."""

    def __init__(self, store: CallStore, *, max_duration_s: float) -> None:
        self._store = store
        self._max_duration_s = max_duration_s
        self.doubtful: set[CallId] = set()
        """The calls for which ``settle`` is to be called."""

    async def recover(self) -> int:
        """Finish the calls that were live when the process died; returns their number."""
        abandoned = await self._store.live()
        for call in abandoned:
            await self._finish(call, ENGINE_RESTARTED)
        if abandoned:
            log.warning("finished the records of an earlier run's calls", extra={"calls": len(abandoned)})
        return len(abandoned)

    def doubt(self, call_id: CallId) -> None:
        """The call was refused because the store failed, but its record may have reached the disk before that."""
        self.doubtful.add(call_id)

    async def settle(self) -> None:
        """Finish those of the doubtful calls that the store has; while the store fails, they stay doubtful."""
        doubtful, self.doubtful = self.doubtful, set()  # a second `settle` may begin before this one ends
        try:
            for call in await self._store.live():
                if call.id in doubtful:
                    await self._finish(call, _REFUSED)
        except StoreUnavailable:
            self.doubtful |= doubtful

    async def _finish(self, call: CallRecord, outcome: Outcome) -> None:
        now = datetime.now(UTC)
        final = made_final(call, now, outcome, max_duration_s=self._max_duration_s)
        changes = (CallChange(call_id=call.id, kind=kind, at=now) for kind in final_kinds(final))
        await self._store.save(final, *changes)


def made_final(call: CallRecord, now: datetime, outcome: Outcome, *, max_duration_s: float) -> CallRecord:
    """The final record of a call whose end nobody saw: the workers hung up, and no call outlives its limit."""
    ended_at, status = now, Status.FAILED
    if call.answered_at is not None:
        limit = timedelta(seconds=call.request.max_duration_s or max_duration_s)
        ended_at = max(call.answered_at, min(now, call.answered_at + limit))  # the clock may have been set back
        status = Status.COMPLETED
    ai = call.ai.ended(ended_at) if call.ai is not None else None
    return replace(call, status=status, ended_at=ended_at, outcome=outcome, ai=ai)
