from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from engine.records import CallId
from engine.store import MemoryStore
from engine.webhooks.delivery import Delivery, DeliveryStatus, Webhook
from engine.webhooks.endpoint import DeliveryRules, Endpoint, after_attempt
from engine.webhooks.sender import Undelivered
from tests.engine.store.samples import NOON, a_call, a_change, a_webhook

RULES = DeliveryRules(now=lambda: NOON)
DELIVERY = Delivery(
    id="msg_1", webhook_id="whk_1", call_id=CallId("c"), event="voice.ringing", body="{}", created_at=NOON, due_at=NOON
)


@pytest.mark.parametrize("code", [200, 201, 204, 299])
def test_any_2xx_is_delivered(code: int) -> None:
    after = after_attempt(DELIVERY, code, RULES)
    assert after == replace(DELIVERY, status=DeliveryStatus.DELIVERED, attempts=1, response_code=code, due_at=None)


@pytest.mark.parametrize("code", [None, 199, 301, 307, 400, 404, 429, 500, 503])
def test_anything_else_is_tried_again_by_the_schedule_with_jitter_then_given_up(code: int | None) -> None:
    delivery, waits = DELIVERY, []
    while (delivery := after_attempt(delivery, code, RULES)).due_at is not None:
        assert delivery.status is DeliveryStatus.PENDING
        waits.append((delivery.due_at - NOON).total_seconds())
    assert (delivery.status, delivery.attempts, delivery.response_code) == (DeliveryStatus.FAILED, 8, code)
    schedule = (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
    assert len(waits) == len(schedule)
    assert all(least <= waited <= 1.2 * least for least, waited in zip(schedule, waits, strict=True))


def test_endpoint_that_is_gone_is_not_tried_again() -> None:
    assert after_attempt(DELIVERY, 410, RULES).status is DeliveryStatus.FAILED


class Rig:
    """An endpoint in memory whose attempts end when the test says so."""

    def __init__(self, *, at_once: int = 8) -> None:
        self.store = MemoryStore()
        self.webhook = a_webhook()
        self.under_way: dict[CallId, asyncio.Future[int]] = {}
        self.posted: list[tuple[CallId, str]] = []
        rules = DeliveryRules(retry_after_s=(0.01,), at_once=at_once)
        self.endpoint = Endpoint(self.webhook.id, self.store, self.post, rules)

    async def post(self, webhook: Webhook, delivery: Delivery) -> int:
        assert delivery.call_id not in self.under_way, "two events of one call under way"
        self.posted.append((delivery.call_id, delivery.event))
        self.under_way[delivery.call_id] = asyncio.get_running_loop().create_future()
        try:
            return await self.under_way[delivery.call_id]
        finally:
            del self.under_way[delivery.call_id]

    async def call(self, *kinds: str) -> CallId:
        call = a_call()
        await self.store.add(call, None, a_change(call))
        for kind in kinds:
            await self.store.save(call, a_change(call, kind))
        return call.id

    async def begun(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.posted) < count:
                await asyncio.sleep(0.002)


async def test_attempts_at_once_are_bounded_and_the_rest_follow() -> None:
    rig = Rig(at_once=3)
    await rig.store.add_webhook(rig.webhook)
    calls = [await rig.call() for _ in range(7)]
    running = asyncio.create_task(rig.endpoint.run())
    await rig.begun(3)
    await asyncio.sleep(0.02)
    assert len(rig.under_way) == 3
    for count in range(4, 8):
        next(iter(rig.under_way.values())).set_result(200)
        await rig.begun(count)
    for attempt in rig.under_way.values():
        attempt.set_result(200)
    async with asyncio.timeout(30):
        await running
    assert [call for call, _ in rig.posted] == calls


async def test_one_calls_failing_event_holds_up_its_own_next_one_only() -> None:
    rig = Rig()
    await rig.store.add_webhook(rig.webhook)
    stuck = await rig.call("voice.ringing")
    running = asyncio.create_task(rig.endpoint.run())
    await rig.begun(1)
    other = await rig.call("voice.ringing")
    rig.endpoint.wake()
    await rig.begun(2)
    rig.under_way[other].set_result(200)
    await rig.begun(3)
    rig.under_way[other].set_result(200)
    assert rig.posted == [(stuck, "voice.initiated"), (other, "voice.initiated"), (other, "voice.ringing")]
    rig.under_way[stuck].set_exception(Undelivered("refused"))
    await rig.begun(4)
    rig.under_way[stuck].set_result(503)
    await rig.begun(5)
    rig.under_way[stuck].set_result(200)
    async with asyncio.timeout(30):
        await running
    assert rig.posted[3:] == [(stuck, "voice.initiated"), (stuck, "voice.ringing")]
    log = [(each.event, each.status, each.attempts) for each in await rig.store.list_deliveries(rig.webhook.id, 9)]
    assert ("voice.initiated", DeliveryStatus.FAILED, 2) in log


async def test_endpoint_that_answers_410_is_disabled_and_left_alone() -> None:
    rig = Rig()
    await rig.store.add_webhook(rig.webhook)
    await rig.call("voice.ringing")
    running = asyncio.create_task(rig.endpoint.run())
    await rig.begun(1)
    next(iter(rig.under_way.values())).set_result(410)
    async with asyncio.timeout(30):
        await running
    webhook = await rig.store.find_webhook(rig.webhook.id)
    assert webhook is not None and webhook.disabled_at is not None
    assert len(rig.posted) == 1
    log = await rig.store.list_deliveries(rig.webhook.id, 9)
    assert [(each.status, each.response_code) for each in log] == [("failed", None), ("failed", 410)]


async def test_deleted_webhook_ends_its_deliveries() -> None:
    rig = Rig()
    await rig.store.add_webhook(rig.webhook)
    await rig.call("voice.ringing")
    running = asyncio.create_task(rig.endpoint.run())
    await rig.begun(1)
    await rig.store.delete_webhook(rig.webhook.id, rig.webhook.environment)
    next(iter(rig.under_way.values())).set_result(200)
    async with asyncio.timeout(30):
        await running
    assert len(rig.posted) == 1


async def test_attempt_that_fails_inside_is_an_attempt_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    await rig.store.add_webhook(rig.webhook)
    await rig.call()
    running = asyncio.create_task(rig.endpoint.run())
    for count in (1, 2):
        await rig.begun(count)
        next(iter(rig.under_way.values())).set_exception(ZeroDivisionError("ours"))
    async with asyncio.timeout(30):
        await running
    assert [each.status for each in await rig.store.list_deliveries(rig.webhook.id, 9)] == ["failed"]
    assert "failed inside Trunkline" in caplog.text


def test_times_are_of_the_schedule_not_of_the_creation() -> None:
    late = replace(DELIVERY, created_at=NOON - timedelta(days=1))
    after = after_attempt(late, None, RULES)
    assert after.due_at is not None and after.due_at > NOON
