from __future__ import annotations

from engine.sandbox.ultravox.wire import Close, Wire


def test_what_is_taken_is_in_order_and_taken_once() -> None:
    wire = Wire(frozenset(["state"]))
    wire.send("state", state="listening")
    wire.put(b"\0\0")
    wire.put(Close(code=1000))
    assert wire.take() == ['{"type": "state", "state": "listening"}', b"\0\0", Close(code=1000)]
    assert wire.take() == []


def test_message_that_is_switched_off_is_dropped() -> None:
    wire = Wire(frozenset())
    wire.send("pong", timestamp=1.0)
    assert wire.take() == []
