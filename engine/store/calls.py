"""Calls, their histories and their transcripts: records to rows and back, on the caller's connection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    delete,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from engine.outcome import Cause, Outcome, Party
from engine.records import (
    AgentSettings,
    AiRecord,
    AiStatus,
    Attempt,
    CallChange,
    CallFilter,
    CallId,
    CallRecord,
    CallRequest,
    CountedCall,
    Environment,
    SipCallId,
    Speaker,
    Status,
    TranscriptTurn,
)
from engine.store import schema

_ERASED = {"system_prompt": "", "tools": []}
_LIVE = [status.value for status in Status if not status.final]

# These statements are built once: building one and finding its compiled form takes longer than running it.
_calls, _changes, _turns = schema.calls.c, schema.changes.c, schema.turns.c
_INSERT_CALL = insert(schema.calls)
_UPDATE_CALL = update(schema.calls).where(_calls.id == bindparam("call"))
_INSERT_CHANGE = insert(schema.changes)
_SAME_TIME = select(_changes.kind, _changes.at).where(
    _changes.call_id == bindparam("call"), _changes.at.in_(bindparam("times", expanding=True))
)
_INSERT_TURN = insert(schema.turns)
_DELETE_TURN = delete(schema.turns).where(_turns.call_id == bindparam("call"), _turns.ordinal == bindparam("place"))


def insert_call(conn: Connection, call: CallRecord, changes: Iterable[CallChange]) -> None:
    """Write a new call and its first changes."""
    conn.execute(_INSERT_CALL, {**_given(call), **_state(call)})
    for change in changes:
        _append(conn, change)


def update_call(conn: Connection, call: CallRecord, changes: Sequence[CallChange]) -> Sequence[CallChange]:
    """Write the call's state and append the changes. The foreign key refuses changes of a call that does not exist.

    Returns the new changes. Others are there already when a commit failed after it had reached the disk.
    """
    conn.execute(_UPDATE_CALL, {"call": call.id, **_state(call)})
    same_time = {"call": call.id, "times": [change.at for change in changes]}
    there = {(row.kind, row.at) for row in conn.execute(_SAME_TIME, same_time)}
    new = [change for change in changes if (change.kind, change.at) not in there]
    for change in new:
        _append(conn, change)
    return new


def put_turn(conn: Connection, call_id: CallId, turn: TranscriptTurn, at: datetime) -> None:
    """Write a transcript line; it replaces the line with the same ordinal."""
    conn.execute(_DELETE_TURN, {"call": call_id, "place": turn.ordinal})
    row = {
        "call_id": call_id,
        "ordinal": turn.ordinal,
        "speaker": turn.speaker.value,
        # The agent's JSON may hold half of a surrogate pair, which no database accepts.
        "text": turn.text.encode("utf-8", "replace").decode(),
        "truncated": turn.truncated,
        "at": at,
    }
    conn.execute(_INSERT_TURN, row)


def read_call(conn: Connection, call_id: CallId) -> CallRecord | None:
    """The call with its transcript, or None."""
    found = _read(conn, schema.calls.c.id == call_id)
    return found[0] if found else None


def read_live(conn: Connection) -> Sequence[CallRecord]:
    """The calls that are not final, oldest first."""
    return _read(conn, schema.calls.c.status.in_(_LIVE))


def read_page(conn: Connection, which: CallFilter, limit: int) -> Sequence[CallRecord]:
    """The newest calls that match ``which``, without their transcripts."""
    calls = schema.calls
    conditions = [calls.c.environment == which.environment.value, *_wanted(which)]
    if which.created_after:
        conditions.append(calls.c.created_at >= which.created_after)
    if which.created_before:
        conditions.append(calls.c.created_at < which.created_before)
    if which.older_than:
        created_at, call_id = which.older_than
        last = tuple_(literal(created_at, schema.UtcTime), literal(call_id))
        conditions.append(tuple_(calls.c.created_at, calls.c.id) < last)
    newest_first = calls.c.created_at.desc(), calls.c.id.desc()
    rows = conn.execute(select(calls).where(*conditions).order_by(*newest_first).limit(limit)).mappings()
    return [_call(row, ()) for row in rows]


def _wanted(which: CallFilter) -> Iterator[ColumnElement[bool]]:
    """The conditions on numbers and status. SQLite does not know how common a value is: it might walk a million calls
    from our number to find those to one callee. So only the condition that probably matches fewest may use its index.
    """
    columns = schema.calls.c
    to, caller = (columns.to_number, which.to_number), (columns.from_number, which.from_number)
    status = columns.status, which.status
    live = which.status in _LIVE
    given = [(column, value) for column, value in (to, *((status, caller) if live else (caller, status))) if value]
    for place, (column, value) in enumerate(given):
        yield (column if place == 0 else column.concat("")) == value


def read_changes(conn: Connection, call_id: CallId) -> Sequence[CallChange]:
    """The call's changes in the order they were written."""
    of_call = select(schema.changes).where(schema.changes.c.call_id == call_id).order_by(schema.changes.c.id)
    rows = conn.execute(of_call)
    return [CallChange(call_id=call_id, kind=row.kind, at=row.at, data=row.data) for row in rows]


def erase_conversation(conn: Connection, call_id: CallId) -> None:
    """Erase the transcript and the agent's prompts; the record of the call stays."""
    agent = conn.execute(select(schema.calls.c.agent).where(schema.calls.c.id == call_id)).scalar_one_or_none()
    if agent is not None:
        blank = {**agent, **_ERASED}
        conn.execute(update(schema.calls).where(schema.calls.c.id == call_id).values(agent=blank))
    conn.execute(delete(schema.turns).where(schema.turns.c.call_id == call_id))


def read_conversations(conn: Connection, before: datetime, limit: int) -> Sequence[CallId]:
    """At most ``limit`` calls that ended before ``before`` and whose conversation is still kept."""
    calls, turns = schema.calls, schema.turns
    prompted = calls.c.agent["system_prompt"].as_string() != _ERASED["system_prompt"]
    kept = or_(prompted, select(turns.c.call_id).where(turns.c.call_id == calls.c.id).exists())
    query = select(calls.c.id).where(calls.c.ended_at < before, kept).limit(limit)
    return [CallId(call_id) for call_id in conn.execute(query).scalars()]


def read_placed(conn: Connection, after: datetime, environment: Environment) -> Sequence[CountedCall]:
    """The calls placed after ``after``, oldest first, with the fields that the guard counts."""
    calls = schema.calls
    columns = (calls.c[field.name] for field in fields(CountedCall))
    which = calls.c.environment == environment.value, calls.c.created_at > after
    rows = conn.execute(select(*columns).where(*which).order_by(calls.c.created_at)).mappings()
    return [CountedCall(**{**row, "api_key_id": row["api_key_id"] or ""}) for row in rows]


def _append(conn: Connection, change: CallChange) -> None:
    row = {"call_id": change.call_id, "kind": change.kind, "at": change.at, "data": dict(change.data)}
    conn.execute(_INSERT_CHANGE, row)


def _read(conn: Connection, which: ColumnElement[bool]) -> list[CallRecord]:
    calls, turns = schema.calls, schema.turns
    rows = conn.execute(select(calls).where(which).order_by(calls.c.created_at, calls.c.id)).mappings().all()
    if not any(row["ai_status"] for row in rows):
        return [_call(row, ()) for row in rows]
    spoken: dict[str, list[TranscriptTurn]] = defaultdict(list)
    of_calls = select(turns).join(calls).where(which).order_by(turns.c.ordinal)
    for row in conn.execute(of_calls).mappings():
        spoken[row["call_id"]].append(_line(row))
    return [_call(row, tuple(spoken[row["id"]])) for row in rows]


def _given(call: CallRecord) -> dict[str, Any]:
    """The columns of a call's row that never change."""
    request = call.request
    return {
        "id": call.id,
        "sip_call_id": call.sip_call_id,
        "environment": call.environment.value,
        "from_number": request.from_number,
        "to_number": request.to_number,
        "max_duration_s": request.max_duration_s,
        "metadata": dict(request.metadata),
        "agent": request.agent and asdict(request.agent),
        "created_at": call.created_at,
        "api_key_id": call.api_key_id,
    }


def _state(call: CallRecord) -> dict[str, Any]:
    """The columns of a call's row that change."""
    ai = call.ai
    return {
        "status": call.status.value,
        "provider": call.provider,
        "trunk": call.trunk,
        "ringing_at": call.ringing_at,
        "answered_at": call.answered_at,
        "ended_at": call.ended_at,
        "outcome": call.outcome and asdict(call.outcome),
        "ai_status": ai and ai.status.value,
        "ai_ultravox_call_id": ai and ai.ultravox_call_id,
        "ai_joined_at": ai and ai.joined_at,
        "ai_ended_at": ai and ai.ended_at,
        "ai_end_reason": ai and ai.end_reason,
        "media": call.media and dict(call.media),
        "attempts": [_attempt_row(attempt) for attempt in call.attempts] or None,
    }


def _call(row: RowMapping, transcript: tuple[TranscriptTurn, ...]) -> CallRecord:
    return CallRecord(
        id=CallId(row["id"]),
        sip_call_id=SipCallId(row["sip_call_id"]),
        environment=Environment(row["environment"]),
        request=CallRequest(
            from_number=row["from_number"],
            to_number=row["to_number"],
            agent=row["agent"] and _agent(row["agent"]),
            max_duration_s=row["max_duration_s"],
            metadata=row["metadata"],
        ),
        provider=row["provider"],
        trunk=row["trunk"],
        status=Status(row["status"]),
        created_at=row["created_at"],
        ringing_at=row["ringing_at"],
        answered_at=row["answered_at"],
        ended_at=row["ended_at"],
        outcome=row["outcome"] and _outcome(row["outcome"]),
        ai=_ai(row, transcript) if row["ai_status"] else None,
        attempts=tuple(_attempt(data) for data in row["attempts"] or ()),
        media=row["media"],
        api_key_id=row["api_key_id"],
    )


def _agent(data: dict[str, Any]) -> AgentSettings:
    return AgentSettings(**{**data, "tools": tuple(data["tools"])})


def _attempt_row(attempt: Attempt) -> dict[str, Any]:
    times = {name: at and at.isoformat() for name, at in asdict(attempt).items() if name.endswith("_at")}
    return asdict(attempt) | times


def _attempt(data: dict[str, Any]) -> Attempt:
    times = {name: at and datetime.fromisoformat(at) for name, at in data.items() if name.endswith("_at")}
    return Attempt(**data | times | {"outcome": data["outcome"] and _outcome(data["outcome"])})


def _outcome(data: dict[str, Any]) -> Outcome:
    return Outcome(**{**data, "by": Party(data["by"]), "cause": Cause(data["cause"])})


def _ai(row: RowMapping, transcript: tuple[TranscriptTurn, ...]) -> AiRecord:
    return AiRecord(
        status=AiStatus(row["ai_status"]),
        ultravox_call_id=row["ai_ultravox_call_id"],
        joined_at=row["ai_joined_at"],
        ended_at=row["ai_ended_at"],
        end_reason=row["ai_end_reason"],
        transcript=transcript,
    )


def _line(row: RowMapping) -> TranscriptTurn:
    speaker = Speaker(row["speaker"])
    return TranscriptTurn(ordinal=row["ordinal"], speaker=speaker, text=row["text"], truncated=row["truncated"])
