"""What every store promises of webhooks and of the outbox (``engine.webhooks``), asked of each of them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from engine.errors import EngineError, TooManyWebhooks
from engine.records import CallRecord, Environment, Status
from engine.store import MemoryStore, open_store
from engine.webhooks.delivery import Delivery, DeliveryStatus
from engine.webhooks.subscriptions import MAX_WEBHOOKS
from tests.engine.store.samples import NOON, AnyStore, a_call, a_change, a_claim, a_webhook

WRITE_FOR_EVER = """
import asyncio, sys
from engine.store import open_store
from tests.engine.store.samples import a_call, a_change, a_webhook
async def main():
    store = await open_store(sys.argv[1])
    await store.add_webhook(a_webhook())
    while True:
        call = a_call()
        await store.add(call, None, a_change(call))
        print(call.id, flush=True)
asyncio.run(main())
"""
LATER = NOON + timedelta(minutes=1)


def show(call: CallRecord) -> dict[str, str]:
    return {"id": call.id, "status": call.status}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/calls.db"


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, url: str) -> AsyncIterator[AnyStore]:
    opened: AnyStore
    opened = MemoryStore(show_call=show) if request.param == "memory" else await open_store(url, show_call=show)
    yield opened
    await opened.aclose()


async def a_call_that_rang(store: AnyStore) -> CallRecord:
    call = a_call()
    await store.add(call, None, a_change(call))
    await store.save(replace(call, status=Status.RINGING), a_change(call, "voice.ringing"))
    return call


def over(delivery: Delivery, status: DeliveryStatus = DeliveryStatus.DELIVERED) -> Delivery:
    return replace(delivery, status=status, attempts=1, response_code=200, due_at=None)


# Webhooks


async def test_webhook_comes_back_equal_to_its_own_environment_oldest_first(store: AnyStore) -> None:
    young, old = a_webhook(), a_webhook("voice.ai.*", "voice.failed", age_s=9)
    live = a_webhook(environment=Environment.LIVE)
    for webhook in (young, old, live):
        await store.add_webhook(webhook)
    assert await store.list_webhooks(Environment.TEST) == [old, young]
    assert await store.list_webhooks(Environment.LIVE) == [live]
    assert await store.find_webhook(live.id) == live
    assert await store.find_webhook("nobody") is None


async def test_webhooks_beyond_the_limit_are_refused(store: AnyStore) -> None:
    for _ in range(MAX_WEBHOOKS):
        await store.add_webhook(a_webhook())
    with pytest.raises(TooManyWebhooks):
        await store.add_webhook(a_webhook())
    await store.add_webhook(a_webhook(environment=Environment.LIVE))


async def test_deleted_webhook_takes_its_deliveries_along_and_is_deleted_once_by_its_own_environment(
    store: AnyStore,
) -> None:
    webhook, other = a_webhook(), a_webhook()
    for each in (webhook, other):
        await store.add_webhook(each)
    await a_call_that_rang(store)
    assert not await store.delete_webhook(webhook.id, Environment.LIVE)
    assert await store.delete_webhook(webhook.id, Environment.TEST)
    assert not await store.delete_webhook(webhook.id, Environment.TEST)
    assert await store.list_deliveries(webhook.id, 9) == []
    assert len(await store.list_deliveries(other.id, 9)) == 2
    assert await store.backlogs() == [other.id]


async def test_disabled_webhook_gets_no_more_events_and_its_pending_deliveries_fail(store: AnyStore) -> None:
    webhook = a_webhook()
    await store.add_webhook(webhook)
    await a_call_that_rang(store)
    for at in (NOON, LATER):
        await store.disable_webhook(webhook.id, at)
    await a_call_that_rang(store)
    assert await store.find_webhook(webhook.id) == replace(webhook, disabled_at=NOON)
    log = await store.list_deliveries(webhook.id, 9)
    assert [(each.status, each.body, each.due_at) for each in log] == [(DeliveryStatus.FAILED, "", None)] * 2
    assert await store.backlogs() == []


# The outbox


async def test_changes_are_queued_for_the_webhooks_that_want_them_with_the_call_as_it_was(store: AnyStore) -> None:
    every, ringing = a_webhook(), a_webhook("voice.ringing")
    elsewhere, none = a_webhook(environment=Environment.LIVE), a_webhook("voice.failed")
    for webhook in (every, ringing, elsewhere, none):
        await store.add_webhook(webhook)
    told: list[str] = []
    store.on_queued(told.append)
    call = await a_call_that_rang(store)
    log = await store.list_deliveries(every.id, 9)
    assert [(each.event, each.call_id, json.loads(each.body)["data"]) for each in log] == [
        ("voice.ringing", call.id, {"id": call.id, "status": "ringing"}),
        ("voice.initiated", call.id, {"id": call.id, "status": "initiated"}),
    ]
    assert [each.event for each in await store.list_deliveries(ringing.id, 9)] == ["voice.ringing"]
    assert await store.list_deliveries(elsewhere.id, 9) == await store.list_deliveries(none.id, 9) == []
    assert sorted(told) == sorted([every.id, every.id, ringing.id])
    assert await store.list_deliveries(every.id, 1) == log[:1]


async def test_change_that_is_saved_again_after_a_doubtful_commit_is_delivered_once(store: AnyStore) -> None:
    webhook = a_webhook()
    await store.add_webhook(webhook)
    call = a_call()
    await store.add(call, None, a_change(call))
    for _ in range(2):
        await store.save(call, a_change(call, "voice.ringing"))
    assert [change.kind for change in await store.changes(call.id)] == ["voice.initiated", "voice.ringing"]
    told = [each.event for each in await store.list_deliveries(webhook.id, 9)]
    assert told == ["voice.ringing", "voice.initiated"]


async def test_write_that_fails_or_is_answered_by_an_earlier_claim_queues_nothing(store: AnyStore) -> None:
    webhook = a_webhook()
    await store.add_webhook(webhook)
    first, second = a_call(), a_call()
    await store.add(first, a_claim(), a_change(first))
    await store.add(second, a_claim(), a_change(second))
    with pytest.raises(EngineError):
        await store.save(second, a_change(second))
    assert [each.call_id for each in await store.list_deliveries(webhook.id, 9)] == [first.id]


async def test_of_a_calls_deliveries_only_the_first_pending_one_is_due(store: AnyStore) -> None:
    webhook = a_webhook()
    await store.add_webhook(webhook)
    await a_call_that_rang(store)
    [first] = await store.upcoming(webhook.id, 9)
    assert first.event == "voice.initiated"
    again = replace(first, attempts=1, response_code=503, due_at=LATER)
    await store.settle(again, NOON)
    assert await store.upcoming(webhook.id, 9) == [again]
    await store.settle(over(first), LATER)
    [second] = await store.upcoming(webhook.id, 9)
    assert (second.event, second.due_at) == ("voice.ringing", LATER)
    await store.settle(over(second, DeliveryStatus.FAILED), LATER)
    assert await store.upcoming(webhook.id, 9) == []
    assert await store.backlogs() == []
    assert [each.status for each in await store.list_deliveries(webhook.id, 9)] == ["failed", "delivered"]


async def test_event_of_a_call_that_has_nothing_pending_is_due_at_once(store: AnyStore) -> None:
    webhook = a_webhook()
    await store.add_webhook(webhook)
    call = a_call()
    await store.add(call, None, a_change(call))
    [first] = await store.upcoming(webhook.id, 9)
    await store.settle(over(first), NOON)
    await store.save(call, a_change(call, "voice.ai.ended"), a_change(call, "voice.completed"))
    assert [each.event for each in await store.upcoming(webhook.id, 9)] == ["voice.ai.ended"]
    kinds = [change.kind for change in await store.changes(call.id)]
    assert kinds == ["voice.initiated", "voice.ai.ended", "voice.completed"]


async def test_earliest_is_upcoming_first_and_no_more_than_asked_for(store: AnyStore) -> None:
    webhook = a_webhook()
    await store.add_webhook(webhook)
    calls = [await a_call_that_rang(store) for _ in range(3)]
    first = (await store.upcoming(webhook.id, 1))[0]
    await store.settle(replace(first, due_at=LATER), NOON)
    assert [each.call_id for each in await store.upcoming(webhook.id, 9)] == [calls[1].id, calls[2].id, calls[0].id]


async def test_delivery_that_is_over_is_not_settled_again(store: AnyStore) -> None:
    webhook = a_webhook()
    await store.add_webhook(webhook)
    await a_call_that_rang(store)
    [first] = await store.upcoming(webhook.id, 9)
    await store.settle(over(first), NOON)
    [second] = await store.upcoming(webhook.id, 9)
    await store.settle(replace(first, due_at=LATER), LATER)
    await store.settle(over(replace(first, id="msg_nobody")), LATER)
    assert await store.upcoming(webhook.id, 9) == [second]
    settled = (await store.list_deliveries(webhook.id, 9))[1]
    assert (settled.status, settled.body) == (DeliveryStatus.DELIVERED, "")


def test_what_was_committed_is_in_the_outbox_after_kill_9(url: str) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().strip() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        told += [line.strip() for line in writer.stdout if line.endswith("\n")]

    async def pending() -> set[str]:
        store = await open_store(url)
        [webhook_id] = await store.backlogs()
        found = {each.call_id for each in await store.upcoming(webhook_id, 100_000)}
        assert found == {call.id for call in await store.live()}
        await store.aclose()
        return set(found)

    assert set(told) <= asyncio.run(pending())


async def test_erased_conversation_is_taken_out_of_what_is_still_to_be_delivered() -> None:
    def with_words(call: CallRecord) -> dict[str, object]:
        return {"id": call.id, "ai": {"status": "ended", "transcript": "Agent: secret words", "turns": [1]}}

    store = MemoryStore(show_call=with_words)
    await _words_are_redacted(store)


async def test_erased_conversation_is_taken_out_of_the_database_s_outbox_too(url: str) -> None:
    def with_words(call: CallRecord) -> dict[str, object]:
        return {"id": call.id, "ai": {"status": "ended", "transcript": "Agent: secret words", "turns": [1]}}

    store = await open_store(url, show_call=with_words)
    await _words_are_redacted(store)
    await store.aclose()


async def _words_are_redacted(store: AnyStore) -> None:
    webhook = a_webhook()
    await store.add_webhook(webhook)
    call = a_call()
    await store.add(call, None, a_change(call))
    (under_way,) = await store.upcoming(webhook.id, 9)
    assert "secret words" in under_way.body
    await store.erase_conversation(call.id)
    await store.settle(replace(under_way, attempts=1, due_at=LATER), LATER)
    (delivery,) = await store.upcoming(webhook.id, 9)
    assert delivery.attempts == 1
    assert json.loads(delivery.body)["data"] == {"id": call.id, "ai": {"status": "ended"}}


async def test_old_deliveries_are_forgotten_once_they_are_over(store: AnyStore) -> None:
    webhook = a_webhook()
    await store.add_webhook(webhook)
    await a_call_that_rang(store)
    (first,) = await store.upcoming(webhook.id, 9)
    await store.settle(replace(first, status=DeliveryStatus.DELIVERED), LATER)
    assert await store.forget_deliveries(first.created_at, 9) == 0
    assert await store.forget_deliveries(LATER, 9) == 1
    assert await store.forget_deliveries(LATER, 9) == 0
    assert [each.event for each in await store.list_deliveries(webhook.id, 9)] == ["voice.ringing"]
