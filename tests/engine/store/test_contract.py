"""What every store promises (``engine.calls.call_store``), asked of each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError, IdempotencyConflict
from engine.outcome import Cause, Outcome, Party
from engine.records import (
    AiRecord,
    AiStatus,
    Attempt,
    CallFilter,
    CallId,
    CallRecord,
    CallRequest,
    CountedCall,
    Environment,
    Status,
)
from engine.sip.causes import refusal
from engine.store import MemoryStore, open_store
from tests.engine.store.samples import (
    NOON,
    AnyStore,
    Clock,
    a_call,
    a_change,
    a_claim,
    a_key,
    a_line,
    an_ai_call,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[AnyStore]:
    opened: AnyStore
    if request.param == "memory":
        opened = MemoryStore(clock)
    else:
        opened = await open_store(f"sqlite:///{tmp_path}/calls.db", now=clock)
    yield opened
    await opened.aclose()


# Calls


async def test_added_call_comes_back_equal(store: AnyStore) -> None:
    for call in (a_call(), an_ai_call()):
        assert await store.add(call, None, a_change(call)) == call
        assert await store.get(call.id) == call


async def test_unknown_call_is_none(store: AnyStore) -> None:
    assert await store.get(CallId("nobody")) is None
    assert await store.changes(CallId("nobody")) == []


async def test_saved_call_replaces_the_one_before_with_every_field(store: AnyStore) -> None:
    call = an_ai_call()
    await store.add(call, None, a_change(call))
    over = replace(
        call,
        status=Status.COMPLETED,
        provider="other",
        ringing_at=NOON + timedelta(microseconds=1),
        answered_at=NOON + timedelta(seconds=2),
        ended_at=NOON + timedelta(seconds=50),
        outcome=Outcome(by=Party.CALLEE, cause=Cause.BUSY, detail="Busy.", sip_code=486, sip_reason="Busy", q850=17),
        ai=AiRecord(
            status=AiStatus.ENDED,
            ultravox_call_id="uv-1",
            joined_at=NOON + timedelta(seconds=2),
            ended_at=NOON + timedelta(seconds=49),
            end_reason="hangup",
        ),
        attempts=(
            Attempt(trunk="office", sip_call_id="CA1", started_at=NOON, ended_at=NOON, outcome=refusal(503, "No", 38)),
            Attempt(trunk="backup", sip_call_id="CA1-2", started_at=NOON + timedelta(microseconds=7)),
        ),
        media={"underruns": 0, "codec": "PCMU", "late_ms": 1.5},
    )
    await store.save(over, a_change(over, "voice.completed"))
    assert await store.get(call.id) == over


async def test_times_come_back_in_utc(store: AnyStore) -> None:
    call = a_call(created_at=NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    await store.add(call, None, a_change(call))
    got = await store.get(call.id)
    assert got is not None
    assert got.created_at == NOON


async def test_changes_are_kept_in_the_order_of_writing(store: AnyStore) -> None:
    call, other = a_call(), a_call()
    await store.add(call, None, a_change(call), a_change(call, "voice.ai.initiated"))
    await store.add(other, None, a_change(other))
    await store.save(call, a_change(call, "voice.ringing", code=180))
    await store.save(call, a_change(call, "voice.failed", cause="busy"))
    changes = await store.changes(call.id)
    kinds = [change.kind for change in changes]
    assert kinds == ["voice.initiated", "voice.ai.initiated", "voice.ringing", "voice.failed"]
    assert changes[2] == a_change(call, "voice.ringing", code=180)


async def test_writing_to_a_call_that_does_not_exist_is_refused(store: AnyStore) -> None:
    call = a_call()
    with pytest.raises(EngineError):
        await store.save(call, a_change(call))
    with pytest.raises(EngineError):
        await store.add_turn(call.id, a_line(0), NOON)


async def test_adding_a_call_twice_is_refused_and_changes_nothing(store: AnyStore) -> None:
    call = a_call()
    await store.add(call, None, a_change(call))
    with pytest.raises(EngineError):
        await store.add(replace(call, provider="other"), a_claim(), a_change(call))
    assert await store.get(call.id) == call
    assert len(await store.changes(call.id)) == 1
    assert await store.claimed(a_claim()) is None


async def test_failing_write_does_not_spoil_those_beside_it(store: AnyStore) -> None:
    good, bad = [a_call() for _ in range(5)], a_call()
    await store.add(bad, None, a_change(bad))
    writes = [store.add(call, None, a_change(call)) for call in (*good, bad)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert results[:-1] == good
    assert isinstance(results[-1], EngineError)
    assert [await store.get(call.id) for call in good] == good


async def test_live_calls_are_those_not_final_oldest_first(store: AnyStore) -> None:
    ages = {Status.INITIATED: 1, Status.RINGING: 3, Status.ANSWERED: 2, Status.COMPLETED: 4, Status.FAILED: 5}
    for status, age in ages.items():
        call = an_ai_call(status=status, created_at=NOON - timedelta(seconds=age))
        await store.add(call, None, a_change(call))
        await store.add_turn(call.id, a_line(0, status), NOON)
    live = await store.live()
    assert [call.status for call in live] == [Status.RINGING, Status.ANSWERED, Status.INITIATED]
    assert [call.ai and call.ai.transcript[0].text for call in live] == ["ringing", "answered", "initiated"]


async def test_calls_are_found_by_what_is_given_newest_first_and_never_in_the_other_environment(
    store: AnyStore,
) -> None:
    numbers = ("+14155550101", "+14155550102")
    calls = [
        a_call(
            created_at=NOON + timedelta(minutes=minute),
            status=Status.RINGING if minute % 2 else Status.COMPLETED,
            request=CallRequest(from_number=numbers[minute % 3 % 2], to_number=numbers[minute // 3]),
        )
        for minute in range(6)
    ]
    for call in (*calls, a_call(environment=Environment.LIVE)):
        await store.add(call, None, a_change(call))

    async def found(**given: Any) -> list[int]:
        return [calls.index(call) for call in await store.find(CallFilter(environment=Environment.TEST, **given), 9)]

    assert await found() == [5, 4, 3, 2, 1, 0]
    assert await found(status=Status.RINGING) == [5, 3, 1]
    assert await found(from_number=numbers[1]) == [4, 1]
    assert await found(to_number=numbers[1]) == [5, 4, 3]
    assert await found(to_number=numbers[1], from_number=numbers[1], status=Status.COMPLETED) == [4]
    assert await found(from_number=numbers[1], status=Status.RINGING) == [1]
    assert await found(created_after=calls[1].created_at, created_before=calls[3].created_at) == [2, 1]
    assert await found(older_than=(calls[4].created_at, calls[4].id), status=Status.COMPLETED) == [2, 0]
    assert await store.find(CallFilter(environment=Environment.TEST), 2) == [calls[5], calls[4]]


async def test_pages_hold_each_call_once_though_many_began_at_the_same_moment(store: AnyStore) -> None:
    calls = {call.id: call for call in (a_call() for _ in range(7))}
    for call in calls.values():
        await store.add(call, None, a_change(call))
    seen: list[CallRecord] = []
    while page := await store.find(
        CallFilter(environment=Environment.TEST, older_than=(seen[-1].created_at, seen[-1].id) if seen else None), 3
    ):
        seen += page
    assert [call.id for call in seen] == sorted(calls, reverse=True)


async def test_placed_calls_are_returned_with_the_guards_fields_oldest_first(store: AnyStore) -> None:
    live = {"environment": Environment.LIVE, "api_key_id": "k"}
    talked = {"answered_at": NOON, "ended_at": NOON + timedelta(seconds=7)}
    late, early = a_call(**live), a_call(**live, **talked, created_at=NOON - timedelta(hours=1))
    too_early, other = a_call(**live, created_at=NOON - timedelta(days=1)), a_call(api_key_id="k")
    for call in (late, early, too_early, other):
        await store.add(call, None, a_change(call))
    assert await store.placed_since(NOON - timedelta(days=1), Environment.LIVE) == [
        CountedCall(
            api_key_id="k",
            to_number=call.request.to_number,
            created_at=call.created_at,
            answered_at=call.answered_at,
            ended_at=call.ended_at,
        )
        for call in (early, late)
    ]


# Transcripts


async def test_transcript_comes_in_order_of_ordinals_and_outlives_a_save(store: AnyStore) -> None:
    call = an_ai_call()
    await store.add(call, None, a_change(call))
    for line in (a_line(2, "c"), a_line(0, "a"), a_line(1, "b", truncated=True)):
        await store.add_turn(call.id, line, NOON)
    await store.save(call, a_change(call, "voice.answered"))
    got = await store.get(call.id)
    assert got is not None
    assert got.ai is not None
    assert got.ai.transcript == (a_line(0, "a"), a_line(1, "b", truncated=True), a_line(2, "c"))


async def test_line_of_the_same_ordinal_replaces_the_first_even_at_the_same_moment(store: AnyStore) -> None:
    call = an_ai_call()
    await store.add(call, None, a_change(call))
    await asyncio.gather(*(store.add_turn(call.id, a_line(0, text), NOON) for text in ("one", "two", "three")))
    got = await store.get(call.id)
    assert got is not None
    assert got.ai is not None
    assert got.ai.transcript == (a_line(0, "three"),)


async def test_half_a_surrogate_pair_in_a_transcript_is_no_error(store: AnyStore) -> None:
    call = an_ai_call()
    await store.add(call, None, a_change(call))
    await store.add_turn(call.id, a_line(0, "pizza \ud83c"), NOON)
    got = await store.get(call.id)
    assert got is not None
    assert got.ai is not None
    assert got.ai.transcript[0].text.startswith("pizza ")


# Idempotency


async def test_same_claim_gets_the_first_call_and_writes_nothing(store: AnyStore) -> None:
    first, second = a_call(), a_call()
    assert await store.claimed(a_claim()) is None
    assert await store.add(first, a_claim(), a_change(first)) == first
    assert await store.add(second, a_claim(), a_change(second)) == first
    assert await store.claimed(a_claim()) == first
    assert await store.get(second.id) is None


async def test_claim_with_another_body_is_a_conflict(store: AnyStore) -> None:
    first, second = a_call(), a_call()
    await store.add(first, a_claim(), a_change(first))
    with pytest.raises(IdempotencyConflict):
        await store.add(second, a_claim(body="other"), a_change(second))
    with pytest.raises(IdempotencyConflict):
        await store.claimed(a_claim(body="other"))
    assert await store.get(second.id) is None


async def test_claims_of_two_api_keys_do_not_meet(store: AnyStore) -> None:
    first, second = a_call(), a_call()
    await store.add(first, a_claim(api_key_id="alice"), a_change(first))
    assert await store.add(second, a_claim(api_key_id="bob", body="other"), a_change(second)) == second


async def test_of_claims_made_at_the_same_moment_one_wins_for_all(store: AnyStore) -> None:
    calls = [a_call() for _ in range(10)]
    answers = await asyncio.gather(*(store.add(call, a_claim(), a_change(call)) for call in calls))
    assert {answer.id for answer in answers} == {calls[0].id}
    assert [call.id for call in await store.live()] == [calls[0].id]


async def test_conflict_among_simultaneous_claims_spoils_only_itself(store: AnyStore) -> None:
    calls = [a_call() for _ in range(3)]
    claims = (a_claim(), a_claim(body="other"), a_claim("order-8"))
    adds = (store.add(call, claim, a_change(call)) for call, claim in zip(calls, claims, strict=True))
    first, conflict, third = await asyncio.gather(*adds, return_exceptions=True)
    assert (first, third) == (calls[0], calls[2])
    assert isinstance(conflict, IdempotencyConflict)


async def test_claim_is_forgotten_after_a_day(store: AnyStore, clock: Clock) -> None:
    first, second = a_call(), a_call()
    await store.add(first, a_claim(), a_change(first))
    clock.advance(hours=23, minutes=59)
    assert await store.claimed(a_claim()) == first
    clock.advance(minutes=1)
    assert await store.claimed(a_claim(body="other")) is None
    assert await store.add(second, a_claim(body="other"), a_change(second)) == second
    assert await store.claimed(a_claim(body="other")) == second


# Keys


async def test_key_is_found_by_its_digest_with_every_field(store: AnyStore) -> None:
    key = a_key(scopes=("voice:call", "voice:read"), rate_per_s=2.5, expires_at=NOON + timedelta(days=1))
    await store.add_key(key)
    assert await store.find_key(key.digest) == key
    assert await store.find_key("0" * 64) is None


async def test_key_is_not_added_twice(store: AnyStore) -> None:
    key = a_key()
    await store.add_key(key)
    with pytest.raises(EngineError):
        await store.add_key(replace(a_key(), digest=key.digest))
    assert await store.list_keys() == [key]


async def test_keys_are_listed_oldest_first(store: AnyStore) -> None:
    young, old = a_key(), replace(a_key(), created_at=NOON - timedelta(days=1))
    await store.add_key(young)
    await store.add_key(old)
    assert await store.list_keys() == [old, young]


@pytest.mark.parametrize("name", ["id", "prefix"])
async def test_key_is_revoked_once_by_id_or_prefix(store: AnyStore, name: str) -> None:
    key, other = a_key(), a_key()
    await store.add_key(key)
    await store.add_key(other)
    revoked = replace(key, revoked_at=NOON)
    assert await store.revoke_key(getattr(key, name), NOON) == revoked
    assert await store.revoke_key(getattr(key, name), NOON + timedelta(hours=1)) == revoked
    assert await store.find_key(key.digest) == revoked
    assert await store.find_key(other.digest) == other


async def test_prefix_of_two_keys_or_of_none_revokes_nothing(store: AnyStore) -> None:
    key = a_key()
    twin = replace(a_key(), prefix=key.prefix)
    await store.add_key(key)
    await store.add_key(twin)
    for prefix in (key.prefix, "tk_test_", ""):
        assert await store.revoke_key(prefix, NOON) is None
    assert {listed.revoked_at for listed in await store.list_keys()} == {None}


async def test_use_of_a_key_is_noted(store: AnyStore) -> None:
    key, other = a_key(), a_key()
    await store.add_key(key)
    await store.add_key(other)
    await store.touch_key(key.id, NOON)
    await store.touch_key("nobody", NOON)
    await store.add_key(a_key())  # Written after the touch, which returns before it is written.
    assert await store.find_key(key.digest) == replace(key, last_used_at=NOON)
    assert await store.find_key(other.digest) == other


# What is kept for a time only


async def test_erased_conversation_is_gone_and_the_call_stays(store: AnyStore) -> None:
    call, other = an_ai_call(), an_ai_call()
    for each in (call, other):
        await store.add(each, None, a_change(each))
        await store.add_turn(each.id, a_line(0, "secret words"), NOON)
    await store.erase_conversation(call.id)
    erased, kept = await store.get(call.id), await store.get(other.id)
    assert erased is not None and erased.ai is not None and erased.request.agent is not None
    assert (erased.ai.transcript, erased.request.agent.system_prompt, erased.request.agent.tools) == ((), "", ())
    assert replace(erased, request=call.request, ai=call.ai) == call
    assert kept is not None and kept.ai is not None and len(kept.ai.transcript) == 1
    assert kept.request == other.request


async def test_old_conversations_are_erased_once_a_few_at_a_time_and_live_ones_never(store: AnyStore) -> None:
    old = [replace(an_ai_call(), ended_at=NOON - timedelta(days=3)) for _ in range(3)]
    young, live, plain = (
        replace(an_ai_call(), ended_at=NOON),
        an_ai_call(),
        replace(a_call(), ended_at=NOON - timedelta(days=3)),
    )
    for call in (*old, young, live, plain):
        await store.add(call, None, a_change(call))
    limit = NOON - timedelta(days=2)
    assert [await store.erase_conversations(limit, 2) for _ in range(3)] == [2, 1, 0]
    for call in (young, live, plain):
        assert await store.get(call.id) == call


async def test_deleted_words_are_in_no_file_of_the_database(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/calls.db")
    call = an_ai_call()
    await store.add(call, None, a_change(call))
    await store.add_turn(call.id, a_line(0, "unforgettable"), NOON)
    await store.erase_conversation(call.id)
    await store.aclose()
    assert holding(b"office", tmp_path) == ["calls.db"]
    assert holding(b"unforgettable", tmp_path) == []


def holding(text: bytes, folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if text in file.read_bytes()]
