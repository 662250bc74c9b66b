from __future__ import annotations

import json

import pytest
import standardwebhooks

from engine.records import Environment
from engine.webhooks.subscriptions import EVENTS, announce, matches, subscribe
from tests.engine.store.samples import NOON, a_call, a_change, a_webhook


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("voice.*", EVENTS),
        ("*", EVENTS),
        ("voice.ai.*", ("voice.ai.initiated", "voice.ai.ended")),
        ("*.initiated", ("voice.initiated", "voice.ai.initiated")),
        ("voice.ringing", ("voice.ringing",)),
        ("voice", ()),
        ("VOICE.*", ()),
    ],
)
def test_glob_selects_events(pattern: str, selected: tuple[str, ...]) -> None:
    assert tuple(event for event in EVENTS if matches(pattern, event)) == selected


def test_every_webhook_gets_its_own_secret_that_the_specification_takes_and_no_repr_shows() -> None:
    first, second = (subscribe(Environment.TEST, "https://example.com/?token=1", ["voice.*"] * 2, NOON) for _ in "ab")
    assert first.secret.startswith("whsec_") and first.secret != second.secret
    standardwebhooks.Webhook(first.secret)
    assert first.secret not in repr(first)
    assert "token" not in repr(first)
    assert first.events == ("voice.*",)


def test_changes_that_are_no_events_are_not_delivered() -> None:
    call = a_call()
    changes = [a_change(call, kind) for kind in ("voice.ai.created", "voice.ai.left", "voice.ringing")]
    told = announce(call, changes, [a_webhook("*")], waiting=(), show=lambda call: {})
    assert [delivery.event for delivery in told] == ["voice.ringing"]


def test_event_is_the_call_as_it_is_shown_with_when_and_which() -> None:
    call = a_call()
    show = {"id": call.id, "text": "pizza \ud83c ü"}
    [delivery] = announce(call, [a_change(call)], [a_webhook()], waiting=(), show=lambda call: show)
    assert json.loads(delivery.body) == {
        "type": "voice.initiated",
        "id": delivery.id,
        "timestamp": "2026-03-09T12:00:00.123Z",
        "data": {"id": call.id, "text": "pizza ? ü"},
    }
    delivery.body.encode()


def test_only_the_first_event_of_a_call_is_due_at_once() -> None:
    call = a_call()
    free, busy = a_webhook(), a_webhook()
    changes = [a_change(call, "voice.ai.ended"), a_change(call, "voice.completed")]
    told = list(announce(call, changes, [free, busy], waiting={busy.id}, show=lambda call: {}))
    assert [(each.event, each.due_at) for each in told if each.webhook_id == free.id] == [
        ("voice.ai.ended", NOON),
        ("voice.completed", None),
    ]
    assert [each.due_at for each in told if each.webhook_id == busy.id] == [None, None]
