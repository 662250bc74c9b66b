"""Telephone keys of one call: bursts sent to the agent when it can hear them, keys pressed and answered in order."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from engine.errors import SipError
from engine.worker import keypad as keypad_module
from engine.worker.keypad import Keypad
from media.ultravox.session import ToolInvoked


class FakeLeg:
    received: int | None = 0

    def __init__(self, error: str = "") -> None:
        self.pressed: list[str] = []
        self.error = error

    def press(self, digit: str, duration_ms: int) -> None:
        if self.error:
            raise SipError(self.error)
        self.pressed.append(digit)

    def hang_up(self, code: int = 0) -> None: ...


class Rig:
    """A keypad whose agent, voice and phone the test is; the agent's last word ends after ``words`` looks."""

    def __init__(self, *, with_agent: bool = True, words: int = 0) -> None:
        self.held = False
        self.words = words
        self.counts: list[tuple[int, bool]] = []
        self.sent: list[dict[str, Any]] = []
        self.leg = FakeLeg()
        self.keypad = Keypad(
            on_burst=lambda count, by_callee: self.counts.append((count, by_callee)),
            voice=self,
            with_agent=with_agent,
        )

    @property
    def playing(self) -> bool:
        self.words -= 1
        return self.words >= 0

    def send_text(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def hear(self, digits: str) -> None:
        for digit in digits:
            self.keypad.heard(digit)

    def press(self, digits: object, invocation_id: str = "i") -> None:
        parameters = {"digits": digits}
        self.keypad.press(ToolInvoked(name="pressKeys", invocation_id=invocation_id, parameters=parameters), self.leg)

    async def until_sent(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(30):
            while len(self.sent) < count:
                await asyncio.sleep(0)
        return self.sent


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BURST_PAUSE_S", "PAUSE_S", "KEY_S", "_LOOK_S"):
        monkeypatch.setattr(keypad_module, name, 0.01)


async def test_a_pause_or_a_hash_ends_a_burst_which_is_one_message_that_interrupts() -> None:
    rig = Rig()
    rig.keypad.attach(rig)
    rig.hear("12#3")
    first, second = await rig.until_sent(2)
    words = "The user pressed these keys on the telephone's keypad: "
    assert first == {"type": "user_text_message", "text": f"{words}12#", "urgency": "immediate"}
    assert second["text"] == f"{words}3"
    assert rig.counts == [(3, True), (1, True)]


async def test_keys_pressed_before_the_agents_session_runs_are_sent_when_it_does() -> None:
    rig = Rig()
    rig.hear("1#2#")
    await asyncio.sleep(0.05)
    assert (rig.sent, rig.counts) == ([], [])
    rig.keypad.attach(rig)
    (message,) = await rig.until_sent(1)
    assert message["text"].endswith(": 1#2#")


async def test_a_plain_calls_digits_are_counted_and_sent_to_nobody() -> None:
    rig = Rig(with_agent=False)
    rig.hear("1234#")
    assert rig.counts == [(5, True)]


async def test_keys_are_pressed_in_order_and_the_agent_then_listens() -> None:
    rig = Rig()
    rig.keypad.attach(rig)
    rig.press("1w2#")
    await asyncio.sleep(0)
    assert rig.held
    (answer,) = await rig.until_sent(1)
    assert rig.leg.pressed == ["1", "2", "#"]
    assert answer == {
        "type": "client_tool_result", "invocationId": "i", "result": "Pressed 1w2#.", "agentReaction": "listens"
    }  # fmt: skip
    assert rig.counts == [(3, False)]
    assert not rig.held


async def test_two_invocations_do_not_mix_their_keys() -> None:
    rig = Rig()
    rig.keypad.attach(rig)
    rig.press("12", "a")
    rig.press("34", "b")
    assert [answer["invocationId"] for answer in await rig.until_sent(2)] == ["a", "b"]
    assert rig.leg.pressed == ["1", "2", "3", "4"]


async def test_keys_wait_for_the_agents_last_word() -> None:
    rig = Rig(words=3)
    rig.keypad.attach(rig)
    rig.press("1")
    await asyncio.sleep(0)
    assert not rig.held
    await rig.until_sent(1)
    assert rig.leg.pressed == ["1"]


@pytest.mark.parametrize(("digits", "error"), [("five", ""), ("5", "the far end has put the call on hold")])
async def test_what_cannot_be_pressed_is_answered_with_why_and_the_agent_speaks(digits: str, error: str) -> None:
    rig = Rig()
    rig.leg.error = error
    rig.keypad.attach(rig)
    rig.press(digits)
    (answer,) = await rig.until_sent(1)
    assert answer["agentReaction"] == "speaks"
    assert (error or "No key was pressed") in answer["result"]
    assert (rig.leg.pressed, rig.counts) == ([], [])
    assert not rig.held


async def test_the_calls_end_stops_the_keys_and_leaves_no_invocation_unanswered() -> None:
    rig = Rig()
    rig.keypad.attach(rig)
    rig.press("12345", "a")
    rig.press("6", "b")
    rig.hear("9")
    await asyncio.sleep(0)
    rig.keypad.close()
    rig.keypad.close()
    pressed = len(rig.leg.pressed)
    await asyncio.sleep(0.05)
    assert [(it["invocationId"], it["agentReaction"]) for it in rig.sent] == [("a", "listens"), ("b", "listens")]
    assert (len(rig.leg.pressed), rig.counts) == (pressed, [])
