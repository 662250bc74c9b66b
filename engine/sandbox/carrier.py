"""The sandbox's carrier: a PJSIP callee in its own process, with real SIP and RTP."""

from __future__ import annotations

import asyncio
import functools
import math
import socket
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import uvloop

from engine.log import set_up_logging
from engine.messages.commands import Command
from engine.messages.link import HELLO, Link
from engine.messages.link_listener import take_links
from engine.messages.pipe import open_pipe
from engine.messages.settings import CarrierReady, CarrierSettings, StackSettings
from engine.pjsip.clock import TICK_S, MediaClock
from engine.pjsip.leg import Leg
from engine.pjsip.stack import SipStack
from engine.sandbox.callee import Callee
from engine.sandbox.numbers import Behaviour, behaviour
from engine.sip.leg_port import LegEnd, LegListener, MediaStream
from engine.sip.uri import SipUri
from engine.worker.keypad import KEY_S, TONE_MS

_FIRST_PJSIP = 0  # a sandbox worker has one
_RINGING, _OK = 180, 200
_KEYS_AFTER_S = 1.0


class SimulatedCallee:
    """One call at the callee's side. The dialled number decides its behaviour."""

    def __init__(self, leg: Leg, number: str, settings: CarrierSettings) -> None:
        self._leg: Leg | None = leg
        self._settings = settings
        self._behaviour: Behaviour = behaviour(number)
        self._number = number
        self._stream: MediaStream | None = None
        self._callee: Callee | None = None
        self._owed_samples = 0
        self._recorded: list[tuple[bytes, bytes]] = []
        self._rate_hz = 0
        self._timers: list[asyncio.TimerHandle] = []
        self.over = False

    def ring(self) -> None:
        """Respond to the INVITE as the table of numbers says."""
        final, ring_s = self._behaviour.final_code, self._behaviour.ring_s
        if final is not None and ring_s == 0:
            self._answer(final)
            return
        self._answer(_RINGING)
        if final is not None:
            self._after(ring_s, lambda: self._answer(final))
        elif ring_s < math.inf:
            self._after(ring_s, lambda: self._answer(_OK))

    def exchange(self) -> None:
        """Receive one frame and send one; called every 20 ms."""
        stream, callee = self._stream, self._callee
        if stream is None:
            return
        self._owed_samples += stream.rate_hz // 50
        while self._owed_samples >= stream.samples:
            self._owed_samples -= stream.samples
            heard = stream.read()
            said = callee.frame(heard) if callee is not None else bytes(2 * stream.samples)
            stream.write(said)
            if self._settings.recordings is not None and callee is not None:
                self._recorded.append((heard, said))

    def on_progress(self, code: int, reason: str) -> None: ...

    def on_media(self, stream: MediaStream | None) -> None:
        self._stream = stream

    def on_answered(self, codec: str) -> None:
        assert self._stream is not None
        self._rate_hz = self._stream.rate_hz
        settings, rate_hz = self._settings, self._rate_hz
        self._callee = Callee(rate_hz, settings.sayings[rate_hz], hello=settings.hello[rate_hz])
        if self._behaviour.hangup_after_s is not None:
            self._after(self._behaviour.hangup_after_s, self._hang_up)
        for position, key in enumerate(self._behaviour.keys):
            self._after(_KEYS_AFTER_S + position * KEY_S, functools.partial(self._press, key))

    def on_digit(self, digit: str) -> None: ...

    def on_ended(self, end: LegEnd) -> None:
        self._leg = None
        self._stream = None
        self.over = True
        for timer in self._timers:
            timer.cancel()
        if self._settings.recordings is not None and self._recorded:
            self._write_recording(self._settings.recordings)

    def on_gone(self) -> None: ...

    def _answer(self, code: int) -> None:
        if self._leg is not None:
            self._leg.respond(code)

    def _hang_up(self) -> None:
        if self._leg is not None:
            self._leg.hang_up()

    def _press(self, key: str) -> None:
        if self._leg is not None:
            self._leg.press(key, TONE_MS)

    def _after(self, delay_s: float, act: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(delay_s, act))

    def _write_recording(self, folder: Path) -> None:
        """Write a stereo WAV: on the left what the callee heard (the agent), on the right what it said."""
        heard = np.frombuffer(b"".join(pair[0] for pair in self._recorded), "<i2")
        said = np.frombuffer(b"".join(pair[1] for pair in self._recorded), "<i2")
        path = folder / f"{self._number.removeprefix('+')}.wav"
        with wave.open(str(path), "wb") as recording:
            recording.setnchannels(2)
            recording.setsampwidth(2)
            recording.setframerate(self._rate_hz)
            recording.writeframes(np.column_stack((heard, said)).tobytes())


class Carrier:
    """A carrier process. It accepts every call and makes a simulated callee for it."""

    def __init__(self, settings: CarrierSettings) -> None:
        self._settings = settings
        self._callees: list[SimulatedCallee] = []
        self._link: Link | None = None
        self._stack = SipStack(StackSettings(bind="127.0.0.1"), self._take, answer_as=settings.account, link=self._send)
        self._clock = MediaClock(
            poll=self._stack.poll,
            play=self._tick,
            capture=lambda: None,
            busy=lambda: bool(self._callees),
            rest_s=TICK_S,
        )

    async def serve(self, end: socket.socket) -> None:
        """Serve until the control process closes its end."""
        stopping = asyncio.Event()

        def on_command(_: Command) -> None:
            stopping.set()

        pipe = await open_pipe(end, on_command, stopping.set)
        self._clock.start()
        take_links(self._settings.link, self._attached)
        pipe.send(CarrierReady())
        await stopping.wait()
        pipe.close()

    def _attached(self, end: socket.socket) -> None:
        """The worker has connected. To it this process is the edge."""
        self._link = Link(end, self._hear, lambda: None)

    def _hear(self, kind: int, message: bytes) -> None:
        if kind != HELLO:
            self._stack.receive(message)

    def _send(self, message: bytes) -> None:
        if self._link is not None:
            self._link.send(_FIRST_PJSIP, message)

    def _take(self, leg: Leg, called: str) -> LegListener:
        callee = SimulatedCallee(leg, SipUri.parse(called.strip("<>")).user, self._settings)
        self._callees.append(callee)
        asyncio.get_running_loop().call_soon(callee.ring)
        return callee

    def _tick(self) -> None:
        for callee in self._callees:
            callee.exchange()
        if any(callee.over for callee in self._callees):
            self._callees = [callee for callee in self._callees if not callee.over]


async def _serve(end: socket.socket, settings: CarrierSettings) -> None:
    await Carrier(settings).serve(end)


def main(end: socket.socket, settings: CarrierSettings) -> None:
    """Run the process, from fork to exit."""
    set_up_logging(settings.log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(end, settings))
