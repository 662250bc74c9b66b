"""Deliveries from a real store to an endpoint on loopback, through failures and restarts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.records import CallRecord
from engine.store import Store, open_store
from engine.webhooks.delivery import DeliveryStatus, Webhook
from engine.webhooks.dispatcher import Dispatcher
from engine.webhooks.endpoint import DeliveryRules
from engine.webhooks.sender import Sender
from tests.engine.store.samples import a_call, a_change, a_webhook
from tests.engine.webhooks.receiver import Received, Receiver

KINDS = ("voice.initiated", "voice.ringing", "voice.answered", "voice.completed")
RULES = DeliveryRules(retry_after_s=(0.01, 0.01, 0.02, 0.02, 0.03, 0.03, 0.05), at_once=4)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/calls.db"


@asynccontextmanager
async def delivering(url: str, rules: DeliveryRules = RULES) -> AsyncIterator[Store]:
    store, sender = await open_store(url), Sender(allow_private=True, timeout_s=1)
    dispatcher = Dispatcher(store, sender.post, rules=rules)
    dispatcher.start()
    yield store
    await dispatcher.close()
    await sender.aclose()
    await store.aclose()


async def add_webhook(store: Store, receiver: Receiver) -> Webhook:
    webhook = a_webhook(url=f"http://127.0.0.1:{receiver.port}/")
    await store.add_webhook(webhook)
    return webhook


async def whole_call(store: Store) -> CallRecord:
    call = a_call()
    await store.add(call, None, a_change(call))
    for kind in KINDS[1:]:
        await store.save(call, a_change(call, kind))
    return call


async def idle(store: Store) -> None:
    async with asyncio.timeout(30):
        while await store.backlogs():
            await asyncio.sleep(0.01)


def accepted_of(received: list[Received], call: CallRecord) -> list[str]:
    """The events of a call in the order in which they were first seen."""
    return list(dict.fromkeys(got.event["type"] for got in received if got.event["data"]["id"] == call.id))


async def test_endpoint_that_fails_five_times_gets_every_event_in_order_and_signed(url: str) -> None:
    tries: Counter[str] = Counter()

    def answer(request: Received) -> int:
        tries[request.headers["webhook-id"]] += 1
        return 200 if tries[request.headers["webhook-id"]] > 5 else 500

    async with Receiver(answer).listening() as receiver, delivering(url) as store:
        webhook = await add_webhook(store, receiver)
        calls = [await whole_call(store) for _ in range(3)]
        await idle(store)
        for call in calls:
            assert accepted_of(receiver.received, call) == list(KINDS)
        assert set(tries.values()) == {6}
        for got in receiver.received:
            got.verify(webhook.secret)
            assert got.event["id"] == got.headers["webhook-id"]
        log = await store.list_deliveries(webhook.id, 100)
        assert {(each.status, each.attempts, each.response_code) for each in log} == {("delivered", 6, 200)}


async def test_endpoint_that_was_away_gets_what_it_missed(url: str) -> None:
    receiver = Receiver(lambda _: 200)
    async with delivering(url, DeliveryRules(retry_after_s=(0.02,) * 30, at_once=4)) as store:
        async with receiver.listening():
            webhook = await add_webhook(store, receiver)
        call = await whole_call(store)
        async with asyncio.timeout(30):
            while not any(each.attempts for each in await store.list_deliveries(webhook.id, 9)):
                await asyncio.sleep(0.005)
        async with receiver.listening():
            await idle(store)
    assert accepted_of(receiver.received, call) == list(KINDS)


async def test_what_was_pending_is_delivered_after_the_next_start(url: str) -> None:
    store = await open_store(url)
    async with Receiver(lambda _: 200).listening() as receiver:
        webhook = await add_webhook(store, receiver)
        calls = [await whole_call(store) for _ in range(20)]
        await store.aclose()
        assert receiver.received == []
        async with delivering(url) as again:
            await idle(again)
            assert {each.status for each in await again.list_deliveries(webhook.id, 100)} == {"delivered"}
        for call in calls:
            assert accepted_of(receiver.received, call) == list(KINDS)
        assert len(receiver.received) == 20 * len(KINDS)


async def test_attempt_that_a_close_cuts_off_is_repeated_after_the_next_start(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.webhooks.endpoint._GRACE_S", 0.01)
    answers = iter((None, 200, 200, 200, 200))
    async with Receiver(lambda _: next(answers)).listening() as receiver:
        async with delivering(url) as store:
            await add_webhook(store, receiver)
            call = await whole_call(store)
            await receiver.until(1)
        async with delivering(url) as store:
            await idle(store)
    first, second, *_ = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert accepted_of(receiver.received, call) == list(KINDS)


async def test_endpoint_that_hangs_slows_no_other(url: str) -> None:
    async with (
        Receiver(lambda _: None).listening() as hanging,
        Receiver(lambda _: 200).listening() as good,
        delivering(url) as store,
    ):
        await add_webhook(store, hanging)
        await add_webhook(store, good)
        for _ in range(20):
            await whole_call(store)
        await good.until(20 * len(KINDS))
        assert 0 < hanging.most_unanswered <= 2 * RULES.at_once


async def test_what_another_process_queued_is_found_by_the_sweep(url: str) -> None:
    async with Receiver(lambda _: 200).listening() as receiver:
        store, sender, other = await open_store(url), Sender(allow_private=True), await open_store(url)
        await add_webhook(store, receiver)
        dispatcher = Dispatcher(store, sender.post, rules=RULES, sweep_s=0.02)
        dispatcher.start()
        await asyncio.sleep(0.05)
        await whole_call(other)
        await receiver.until(len(KINDS))
        await dispatcher.close()
        dispatcher.wake("whk_late")
        for closing in (sender, store, other):
            await closing.aclose()


async def test_endpoint_that_fails_restarts_and_answers_out_of_order_gets_every_event_signed_and_in_order(
    url: str,
) -> None:
    tries: Counter[str] = Counter()
    seldom = random.Random(1)

    async def answer_late(request: Received) -> int:
        await asyncio.sleep(seldom.random() / 50)  # so the answers to several calls' events cross
        tries[request.headers["webhook-id"]] += 1
        return 204 if tries[request.headers["webhook-id"]] > 5 else seldom.choice((302, 404, 500, 503))

    receiver = Receiver(answer_late)
    async with delivering(url, DeliveryRules(retry_after_s=(0.02,) * 30, at_once=4)) as store:
        async with receiver.listening():
            webhook = await add_webhook(store, receiver)
            calls = [await whole_call(store) for _ in range(5)]
            await receiver.until(20)
        await asyncio.sleep(0.02)  # nobody listens: connections are refused, which counts as an attempt
        async with receiver.listening():
            await idle(store)
        assert {each.status for each in await store.list_deliveries(webhook.id, 99)} == {DeliveryStatus.DELIVERED}
    for call in calls:
        assert accepted_of(receiver.received, call) == list(KINDS)
    for got in receiver.received:
        got.verify(webhook.secret)
