"""A worker process: one thread that is SIP user agent, media clock and WebSocket client for a few calls."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import logging
import socket
import ssl
from collections.abc import Callable, Sequence

import uvloop

from engine.log import set_up_logging
from engine.messages.commands import Command, Dial, HangUp, JoinAgent, Stop
from engine.messages.events import AttemptEnded, Event, Heartbeat, Ready
from engine.messages.pipe import Pipe, open_pipe
from engine.messages.settings import WorkerSettings
from engine.outcome import ENGINE_SHUTDOWN, engine_error
from engine.pjsip import instances
from engine.pjsip.clock import MediaClock
from engine.pjsip.stack import SipStack
from engine.real_time import take_precedence
from engine.records import AttemptId, call_of
from engine.sip.leg_port import LegListener, SipLeg
from engine.worker.audio_path import AudioPath
from engine.worker.call import WorkerCall
from engine.worker.edge_link import EdgeLink
from engine.worker.host_load import HostLoad
from media.resampler import Resampler

log = logging.getLogger("trunkline.worker")

_HEARTBEAT_S = 1.0
_REST_S = 0.1
"""How often a worker without calls polls PJSIP."""
_BUSY, _AT_EASE = 0.4, 0.25
"""Shares of the processors' time: above the one the clock saves CPU, below the other it is quick again."""
_RATES_HZ = (8_000, 16_000, 24_000, 48_000)
_FAREWELL_S = 3.0
"""How long a stopping worker waits for BYE and CANCEL to be answered."""


class Worker:
    """Runs commands and reports events. Ends on ``Stop`` or when the control process is gone."""

    def __init__(
        self, stacks: Sequence[SipStack], tls: ssl.SSLContext, settings: WorkerSettings, *, real_time: bool
    ) -> None:
        self._stacks = stacks
        self._real_time = real_time
        self._rtp_timeout_s = settings.rtp_timeout_s
        self._tls = tls
        self._calls: dict[AttemptId, WorkerCall] = {}
        self._dials = 0
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        play, capture = (functools.partial(self._each, act) for act in (AudioPath.play, AudioPath.capture))
        self._clock = MediaClock(
            poll=self._poll,
            play=play,
            capture=capture,
            busy=lambda: bool(self._calls),
            rest_s=_REST_S,
            phase_s=settings.phase_s,
        )
        self._pipe: Pipe | None = None

    async def serve(self, end: socket.socket) -> None:
        """Serve until stopped, then hang up every call."""
        self._pipe = await open_pipe(end, self._on_command, self._stopping.set)
        self._clock.start()
        lines = sum(stack.lines for stack in self._stacks)
        self._emit(Ready(lines=lines, real_time=self._real_time))
        heart = asyncio.create_task(self._beat())
        await self._stopping.wait()
        self._idle.clear()
        for call in list(self._calls.values()):
            call.hang_up(ENGINE_SHUTDOWN)
        if self._calls:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), _FAREWELL_S)
        heart.cancel()
        self._clock.stop()
        self._pipe.close()

    def _each(self, act: Callable[[AudioPath], None]) -> None:
        for call in list(self._calls.values()):
            try:
                act(call.audio)
            except Exception:  # noqa: BLE001 - `_failed` logs it
                self._failed(call)

    def _failed(self, call: WorkerCall) -> None:
        """An error of one call ends that call, never its neighbours; called while the error is handled."""
        log.exception("call failed in its worker; hanging it up", extra={"call": call_of(call.attempt_id)})
        call.hang_up(engine_error("An internal error ended the call."))

    def _poll(self) -> None:
        for stack in self._stacks:
            stack.poll()

    def _on_command(self, command: Command) -> None:
        match command:
            case Dial():
                self._dials += 1
                self._calls[command.attempt_id] = WorkerCall(command, self._emit, self._tls)
                self._clock.wake()
                self._act(command.attempt_id, lambda call: call.dial(self._send_invite))
            case JoinAgent():
                self._act(command.attempt_id, lambda call: call.join(command))
            case HangUp():
                self._act(command.attempt_id, lambda call: call.hang_up(command.outcome))
            case Stop():
                self._stopping.set()
            case _:
                raise TypeError(f"a worker cannot run {type(command).__name__}")

    def _act(self, attempt_id: AttemptId, act: Callable[[WorkerCall], None]) -> None:
        call = self._calls.get(attempt_id)
        if call is None:
            return  # the call ended while the command was on its way
        try:
            act(call)
        except Exception:  # noqa: BLE001 - `_failed` logs it
            self._failed(call)

    def _send_invite(self, dial: Dial, listener: LegListener) -> SipLeg:
        return max(self._stacks, key=lambda stack: stack.free_lines).dial(
            dial.trunk,
            listener,
            from_number=dial.from_number,
            to_number=dial.to_number,
            sip_call_id=dial.sip_call_id,
        )

    def _emit(self, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            self._calls.pop(event.attempt_id, None)
            if not self._calls:
                self._idle.set()
        if self._pipe is not None:
            self._pipe.send(event)

    async def _beat(self) -> None:
        machine = HostLoad()
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            load = machine.take()
            self._clock.thrifty = load > (_AT_EASE if self._clock.thrifty else _BUSY)
            for attempt_id in list(self._calls):
                self._act(attempt_id, lambda call: call.watch(self._rtp_timeout_s))
            report = self._clock.meter.take()
            self._emit(
                Heartbeat(
                    calls=frozenset(self._calls),
                    dials=self._dials,
                    late_p99_ms=report.late_p99_ms,
                    late_max_ms=report.late_max_ms,
                )
            )


def main(end: socket.socket, settings: WorkerSettings) -> None:
    """Run the process, from fork to exit. It leaves by ``os._exit``: PJSIP is not shut down, its sockets just close."""
    set_up_logging(settings.log)
    # Imported objects are frozen and a call leaves little garbage, so a full collection is rare and short.
    gc.set_threshold(20_000, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(end, settings))


async def _serve(end: socket.socket, settings: WorkerSettings) -> None:
    link = EdgeLink(settings.stack.edge, lambda place, message: stacks[place].receive(message))
    stacks = instances.start(settings.stack, settings.lines, link.send)
    link.open()
    real_time = settings.real_time and take_precedence()
    await Worker(stacks, tls_context(), settings, real_time=real_time).serve(end)
    link.close()


@functools.cache
def tls_context() -> ssl.SSLContext:
    """The verifying client context. Loading the CA bundle takes many ticks: ``prepare`` does it before any fork."""
    return ssl.create_default_context()


def prepare(lines: int) -> None:
    """Do the slow work once, in the fork server, so that it makes no tick late: load as many PJSIPs as ``lines`` need,
    load the certificates, and build the resamplers' filters."""
    instances.load(lines)
    tls_context()
    for source_hz, target_hz in itertools.permutations(_RATES_HZ, 2):
        Resampler(source_hz, target_hz)
