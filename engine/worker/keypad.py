"""One call's telephone keys: it sends the callee's bursts to the agent, and the agent's keys to the phone in time."""

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
"""How often and how long to wait for the agent's last word before pressing keys: five seconds at most."""

Reaction = Literal["speaks", "listens"]
"""What the agent does after a result: it listens to a menu, and speaks to correct a mistake."""


class MessageSink(Protocol):
    """The part of a joined agent that the keypad uses."""

    def send_text(self, text: str) -> None: ...


class Voice(Protocol):
    """The part of the agent's audio path that the keypad uses."""

    held: bool
    """Have it wait."""

    @property
    def playing(self) -> bool: ...


class Keypad:
    """``on_burst`` gets the length of each burst and whether the callee pressed it. Only the agent gets the digits.

    The agent calls its tools after it has spoken, so keys wait until ``voice`` has been played. While keys are pressed
    ``voice`` is held: RTP carries events instead of audio.
    """

    def __init__(self, *, on_burst: Callable[[int, bool], None], voice: Voice, with_agent: bool) -> None:
        self._on_burst = on_burst
        self._voice = voice
        self._with_agent = with_agent
        self._agent: MessageSink | None = None
        self._loop = asyncio.get_running_loop()
        self._burst = Burst()
        self._pause: asyncio.TimerHandle | None = None
        self._free = asyncio.Lock()
        self._presses: dict[str, asyncio.Task[None]] = {}

    def attach(self, agent: MessageSink) -> None:
        """The agent's session runs: send it the digits pressed so far and all later ones."""
        self._agent = agent

    def heard(self, digit: str) -> None:
        """The callee pressed a key."""
        self._stop_waiting()
        if self._burst.press(digit):
            self._report_burst()
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
        """Stop pressing and reporting keys, and answer every open invocation. To be called before the agent's session
        is closed."""
        self._stop_waiting()
        for invocation_id, task in self._presses.items():
            task.cancel()
            self._answer(invocation_id, "The call ended before all keys were pressed.", "listens")
        self._presses.clear()

    # -- in ------------------------------------------------------------------------------------------------------------

    def _await_pause(self) -> None:
        self._pause = self._loop.call_later(BURST_PAUSE_S, self._report_burst)

    def _stop_waiting(self) -> None:
        if self._pause is not None:
            self._pause.cancel()

    def _report_burst(self) -> None:
        if self._with_agent and self._agent is None:
            self._await_pause()  # the agent is still joining: text that it gets before its session runs may be lost
            return
        digits = self._burst.take()
        self._on_burst(len(digits), True)
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
                self._on_burst(sum(key not in PAUSES for key in keys), False)
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
        # A failure too is sent as a ``result``, because the model is not shown an ``errorMessage``.
        if self._agent is not None:
            answer = ClientToolResult(invocation_id=invocation_id, result=result, agent_reaction=reaction)
            self._agent.send_text(dump(answer))
