"""Which requests become calls: idempotency, lines, quotas, and what is committed first."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from engine.agent_service import AgentService
from engine.errors import (
    GuardRefused,
    NoCapacity,
    QuotaReached,
    ShuttingDown,
    StoreUnavailable,
    TrunkUnavailable,
)
from engine.outcome import Cause
from engine.records import (
    AgentSettings,
    CallRecord,
    Environment,
    IdempotencyClaim,
    Status,
)
from engine.webhooks.subscriptions import subscribe
from tests.engine.engine_rig import REQUEST, Rig


async def test_a_placed_call_is_committed_before_it_is_returned() -> None:
    rig = Rig()
    record = await rig.place()
    assert record.status is Status.INITIATED
    assert await rig.store.get(record.id) == record
    await rig.engine.close()


async def test_an_ai_call_reports_the_begin_of_its_agents_side_before_the_phone_rings() -> None:
    rig = Rig(agents=cast(AgentService, object()))  # nothing rings, so it is not asked for anything
    webhook = subscribe(Environment.LIVE, "https://example.com/", ["voice.*"], datetime.now(UTC))
    await rig.store.add_webhook(webhook)
    request = replace(REQUEST, agent=AgentSettings(system_prompt="Be kind."))
    record = await rig.engine.place(request, Environment.LIVE)
    await rig.engine.hang_up(record.id, Environment.LIVE)
    await rig.final(record)
    delivered = [delivery.event for delivery in await rig.store.list_deliveries(webhook.id, 9)][::-1]
    assert delivered == ["voice.initiated", "voice.ai.initiated", "voice.ai.ended", "voice.failed"]
    await rig.engine.close()


async def test_calls_beyond_the_lines_are_refused_and_a_finished_one_makes_room() -> None:
    rig = Rig(max_calls=2)
    first, _ = await rig.place(), await rig.place()
    with pytest.raises(NoCapacity, match=r"All 2 lines \(sip.max_calls\)"):
        await rig.place()
    await rig.engine.hang_up(first.id, Environment.LIVE)
    await rig.final(first)
    await rig.place()
    await rig.engine.close()


async def test_one_idempotency_key_is_one_call_also_when_two_requests_arrive_together() -> None:
    rig = Rig(max_calls=5)
    claim = IdempotencyClaim(key="k", api_key_id="key", body_digest="d")
    calls = await asyncio.gather(*(rig.engine.place(REQUEST, Environment.LIVE, claim) for _ in range(5)))
    assert len({call.id for call in calls}) == 1
    assert rig.engine.readiness().checks["lines"].startswith("1 of 5")
    await rig.engine.close()


async def test_a_repeated_request_is_answered_even_when_no_line_is_free() -> None:
    rig = Rig(max_calls=1)
    claim = IdempotencyClaim(key="k", api_key_id="key", body_digest="d")
    first = await rig.engine.place(REQUEST, Environment.LIVE, claim)
    again = await rig.engine.place(REQUEST, Environment.LIVE, claim)
    assert again.id == first.id
    await rig.engine.close()


async def test_a_repeated_request_is_answered_even_while_the_engine_drains() -> None:
    rig = Rig()
    claim = IdempotencyClaim(key="k", api_key_id="key", body_digest="d")
    first = await rig.engine.place(REQUEST, Environment.LIVE, claim)
    await rig.engine.drain(0)
    again = await rig.engine.place(REQUEST, Environment.LIVE, claim)
    assert again.id == first.id
    with pytest.raises(ShuttingDown):
        await rig.place()
    await rig.engine.close()


async def test_a_refused_request_gives_back_its_line_and_counts_for_no_quota() -> None:
    rig = Rig(max_calls=1, key_calls_per_day=1)
    add = rig.store.add

    async def failing_add(*args: Any) -> CallRecord:
        raise StoreUnavailable("database or disk is full")

    rig.store.add = failing_add  # type: ignore[assignment, method-assign]
    with pytest.raises(StoreUnavailable):
        await rig.engine.place(REQUEST, Environment.LIVE, api_key_id="key")
    rig.store.add = add  # type: ignore[method-assign]
    await rig.engine.place(REQUEST, Environment.LIVE, api_key_id="key")
    await rig.engine.close()


async def test_a_repeated_request_is_answered_even_when_the_quotas_are_used_up_and_counts_once() -> None:
    rig = Rig(max_calls=5, key_calls_per_day=2)
    claim = IdempotencyClaim(key="k", api_key_id="key", body_digest="d")

    async def place(claim: IdempotencyClaim | None) -> CallRecord:
        return await rig.engine.place(REQUEST, Environment.LIVE, claim, api_key_id="key")

    calls = await asyncio.gather(*(place(claim) for _ in range(5)))
    await place(None)
    with pytest.raises(QuotaReached, match="guard.key_calls_per_day"):
        await place(None)
    assert {call.id for call in (*calls, await place(claim))} == {calls[0].id}
    await rig.engine.close()


async def test_quotas_hold_exactly_when_many_requests_arrive_together() -> None:
    rig = Rig(max_calls=100, key_calls_per_minute=7)
    placing = (rig.engine.place(REQUEST, Environment.LIVE, api_key_id="key") for _ in range(50))
    results = await asyncio.gather(*placing, return_exceptions=True)
    assert sum(isinstance(result, CallRecord) for result in results) == 7
    assert rig.engine.readiness().checks["refused calls"] == "43 by guard.key_calls_per_minute"
    await rig.engine.close()


async def test_a_call_that_has_ended_makes_room_for_one_at_once() -> None:
    rig = Rig(key_concurrent_calls=1)
    record = await rig.place()
    with pytest.raises(QuotaReached):
        await rig.place()
    await rig.engine.hang_up(record.id, Environment.LIVE)
    await rig.final(record)
    await rig.place()
    await rig.engine.close()


async def test_the_sandbox_is_not_guarded_because_nothing_is_spent_there() -> None:
    rig = Rig(key_calls_per_day=1, max_calls=5)
    abroad = replace(REQUEST, to_number="+19005551234")
    for _ in range(2):
        await rig.engine.place(abroad, Environment.TEST, api_key_id="key")
    with pytest.raises(GuardRefused, match="premium-rate"):
        await rig.engine.place(abroad, Environment.LIVE, api_key_id="key")
    await rig.engine.close()


async def test_an_ai_call_without_an_agent_service_names_the_missing_setting() -> None:
    rig = Rig()
    request = replace(REQUEST, agent=AgentSettings(system_prompt="Hi"))
    with pytest.raises(TrunkUnavailable, match="ultravox.api_key"):
        await rig.engine.place(request, Environment.LIVE)
    assert rig.engine.readiness().checks["lines"].startswith("0 of")


async def test_a_call_that_is_being_accepted_when_the_engine_closes_is_ended_too() -> None:
    rig = Rig()
    placing = asyncio.create_task(rig.place())
    add, committed = rig.store.add, asyncio.Event()

    async def slow_add(*args: Any) -> CallRecord:
        await committed.wait()
        return await add(*args)

    rig.store.add = slow_add  # type: ignore[assignment, method-assign]
    await asyncio.sleep(0)
    closing = asyncio.create_task(rig.engine.close())
    await asyncio.sleep(0)
    committed.set()
    record = await placing
    await closing
    final = await rig.engine.get(record.id, Environment.LIVE)
    assert final.outcome is not None and final.outcome.cause is Cause.ENGINE_SHUTDOWN
