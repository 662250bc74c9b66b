"""A worker process: one thread that is SIP user agent, media clock and WebSocket client for a few calls at once."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import ssl

import uvloop

from engine.commands import Command, Dial, HangUp, JoinAgent, Stop
from engine.events import Event, Heartbeat, LegEnded, Ready
from engine.line import Line
from engine.log import set_up_logging
from engine.outcome import ENGINE_SHUTDOWN
from engine.pipe import Pipe, open_pipe
from engine.ports import LegListener, SipLeg
from engine.process_settings import WorkerSettings
from engine.records import CallId
from engine.sip.clock import MediaClock
from engine.sip.stack import SipStack

_HEARTBEAT_S = 1.0
_FAREWELL_S = 3.0
"""How long a stopping worker waits for BYE and CANCEL to be answered."""


class Worker:
    """Runs commands, reports events, and ends when it is told to or the control process is gone."""

    def __init__(self, stack: SipStack, tls: ssl.SSLContext) -> None:
        self._stack = stack
        self._tls = tls
        self._lines: dict[CallId, Line] = {}
        self._stopping = asyncio.Event()
        self._clock = MediaClock(stack.poll, self._tick)
        self._pipe: Pipe | None = None

    async def serve(self, end: socket.socket) -> None:
        """Work until stopped; afterwards every call is hung up."""
        self._pipe = await open_pipe(end, self._on_command, self._stopping.set)
        self._clock.start()
        self._emit(Ready(lines=self._stack.lines, sip_port=self._stack.sip_port))
        heart = asyncio.create_task(self._beat())
        await self._stopping.wait()
        for line in list(self._lines.values()):
            line.hang_up(ENGINE_SHUTDOWN)
        deadline_s = asyncio.get_running_loop().time() + _FAREWELL_S
        while self._lines and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(0.02)
        heart.cancel()
        self._clock.stop()
        self._pipe.close()

    def _tick(self) -> None:
        for line in list(self._lines.values()):
            line.exchange()

    def _on_command(self, command: Command) -> None:
        match command:
            case Dial():
                self._lines[command.call_id] = Line(command, self._emit, self._tls)
                self._lines[command.call_id].dial(self._send_invite)
            case JoinAgent() if command.call_id in self._lines:
                self._lines[command.call_id].join(command)
            case HangUp() if command.call_id in self._lines:
                self._lines[command.call_id].hang_up(command.outcome)
            case JoinAgent() | HangUp():
                pass  # the call ended while the command was on its way
            case Stop():
                self._stopping.set()
            case _:
                raise TypeError(f"a worker cannot run {type(command).__name__}")

    def _send_invite(self, dial: Dial, listener: LegListener) -> SipLeg:
        return self._stack.dial(
            dial.trunk,
            listener,
            from_number=dial.from_number,
            to_number=dial.to_number,
            sip_call_id=dial.sip_call_id,
        )

    def _emit(self, event: Event) -> None:
        if isinstance(event, LegEnded):
            self._lines.pop(event.call_id, None)
        if self._pipe is not None:
            self._pipe.send(event)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            report = self._clock.meter.take()
            usage = resource.getrusage(resource.RUSAGE_SELF)
            self._emit(
                Heartbeat(
                    calls=len(self._lines),
                    ticks=report.ticks,
                    late_p99_ms=report.late_p99_ms,
                    late_max_ms=report.late_max_ms,
                    cpu_s=usage.ru_utime + usage.ru_stime,
                )
            )


def main(end: socket.socket, settings: WorkerSettings) -> None:
    """The process, from fork to exit. PJSIP is not torn down: the process leaves by ``os._exit``, its sockets with it."""
    set_up_logging(settings.log)
    # What is imported is frozen; what a call leaves behind is little, so a full collection is rare and short.
    gc.set_threshold(20_000, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(end, settings))


async def _serve(end: socket.socket, settings: WorkerSettings) -> None:
    await Worker(SipStack(settings.stack), tls_context()).serve(end)


def tls_context() -> ssl.SSLContext:
    """The verifying client context, made once before the clock starts: loading the CA bundle takes many ticks."""
    return ssl.create_default_context()
