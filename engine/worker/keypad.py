"""One call's telephone keys, both ways: the callee's bursts told to the agent, the agent's presses sent in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

from engine.errors import SipError
from engine.sip.dtmf import BURST_PAUSE_S, PAUSE_S, PAUSES, Burst, read_keys
from engine.sip.leg_port import SipLeg
from media.ultravox.messages import ClientToolResult, UserTextMessage, dump
from media.ultravox.session import ToolInvoked

TONE_MS = 160
KEY_S = 0.3
"""From one key to the next: the tone, the two repetitions of its last packet (RFC 4733 §2.5.1.4), and silence."""
_LOOK_S, _LOOKS = 0.02, 250
"""How keys wait for the agent's last word: five seconds at most."""

Reaction = Literal["speaks", "listens"]
"""What the agent does with a result: a menu is to be listened to, a mistake to be made good."""


class MessageSink(Protocol):
    """What the keypad needs of a joined agent."""

    def send_text(self, text: str) -> None: ...


class Voice(Protocol):
    """What the keypad needs of the agent's audio on its way to the phone."""

    held: bool
    """Have it wait."""

    @property
    def playing(self) -> bool: ...


class Keypad:
    """``told`` gets the count of each burst and whether the callee pressed it; the agent gets the digits themselves.

    Keys wait until ``voice`` has been played, as the agent calls its tools when it has spoken. While they are pressed
    it is held: RTP carries events in place of audio.
    """

    def __init__(self, *, told: Callable[[int, bool], None], voice: Voice, with_agent: bool) -> None:
        self._told = told
        self._voice = voice
        self._with_agent = with_agent
        self._agent: MessageSink | None = None
        self._loop = asyncio.get_running_loop()
        self._burst = Burst()
        self._pause: asyncio.TimerHandle | None = None
        self._free = asyncio.Lock()
        self._presses: dict[str, asyncio.Task[None]] = {}

    def attach(self, agent: MessageSink) -> None:
        """The agent's session runs: what was pressed before and what will be is for it."""
        self._agent = agent

    def heard(self, digit: str) -> None:
        """The callee pressed a key."""
        self._stop_waiting()
        if self._burst.press(digit):
            self._tell_burst()
        else:
            self._await_pause()

    def press(self, invoked: ToolInvoked, leg: SipLeg) -> None:
        """Run a ``pressKeys`` invocation and answer it, also when its keys cannot be pressed."""
        try:
            keys = read_keys(invoked.parameters)
        except ValueError as error:
            self._answer(invoked.invocation_id, str(error), "speaks")
            return
        task = self._loop.create_task(self._run(invoked.invocation_id, keys, leg))
        self._presses[invoked.invocation_id] = task

    def close(self) -> None:
        """Press and tell no more, and leave no invocation without an answer; before the agent's session is closed."""
        self._stop_waiting()
        for invocation_id, task in self._presses.items():
            task.cancel()
            self._answer(invocation_id, "The call ended before all keys were pressed.", "listens")
        self._presses.clear()

    # -- in ------------------------------------------------------------------------------------------------------------

    def _await_pause(self) -> None:
        self._pause = self._loop.call_later(BURST_PAUSE_S, self._tell_burst)

    def _stop_waiting(self) -> None:
        if self._pause is not None:
            self._pause.cancel()

    def _tell_burst(self) -> None:
        if self._with_agent and self._agent is None:
            self._await_pause()  # it is still joining, and text that comes before its session runs may be lost
            return
        digits = self._burst.take()
        self._told(len(digits), True)
        if self._agent is not None:
            message = f"The user pressed these keys on the telephone's keypad: {digits}"
            self._agent.send_text(dump(UserTextMessage(text=message, urgency="immediate")))

    # -- out -----------------------------------------------------------------------------------------------------------

    async def _run(self, invocation_id: str, keys: str, leg: SipLeg) -> None:
        async with self._free:
            try:
                await self._press_keys(keys, leg)
            except SipError as error:
                self._finish(invocation_id, f"The keys could not be pressed: {error}", "speaks")
            else:
                self._told(sum(key not in PAUSES for key in keys), False)
                self._finish(invocation_id, f"Pressed {keys}.", "listens")

    async def _press_keys(self, keys: str, leg: SipLeg) -> None:
        for _ in range(_LOOKS):
            if not self._voice.playing:
                break
            await asyncio.sleep(_LOOK_S)
        self._voice.held = True
        try:
            for key in keys:
                if key not in PAUSES:
                    leg.press(key, TONE_MS)
                await asyncio.sleep(PAUSE_S if key in PAUSES else KEY_S)
        finally:
            self._voice.held = False

    def _finish(self, invocation_id: str, result: str, reaction: Reaction) -> None:
        del self._presses[invocation_id]
        self._answer(invocation_id, result, reaction)

    def _answer(self, invocation_id: str, result: str, reaction: Reaction) -> None:
        # Failures too are a ``result``: an ``errorMessage`` is not shown to the model.
        if self._agent is not None:
            answer = ClientToolResult(invocation_id=invocation_id, result=result, agent_reaction=reaction)
            self._agent.send_text(dump(answer))
