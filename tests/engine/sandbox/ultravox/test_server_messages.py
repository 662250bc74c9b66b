from __future__ import annotations

from engine.sandbox.ultravox.server_messages import Close, ServerMessages


def test_what_is_taken_is_in_order_and_taken_once() -> None:
    messages = ServerMessages(frozenset(["state"]))
    messages.send("state", state="listening")
    messages.put(b"\0\0")
    messages.put(Close(code=1000))
    assert messages.take() == ['{"type": "state", "state": "listening"}', b"\0\0", Close(code=1000)]
    assert messages.take() == []


def test_message_that_is_switched_off_is_dropped() -> None:
    messages = ServerMessages(frozenset())
    messages.send("pong", timestamp=1.0)
    assert messages.take() == []
