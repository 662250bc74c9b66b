"""The registrar process: keeps trunks registered (RFC 3261 §10), probes them, and reports their responses. It carries
no calls."""

from __future__ import annotations

import asyncio
import functools
import socket

import uvloop

from engine.log import set_up_logging
from engine.messages.commands import Command, Register, Stop
from engine.messages.events import Alive, Ready
from engine.messages.pipe import Pipe, open_pipe
from engine.messages.settings import RegistrarSettings
from engine.pjsip.registration import Registrations
from engine.pjsip.stack import SipStack
from engine.worker.edge_link import EdgeLink

_POLL_S = 0.02
_HEARTBEAT_S = 1.0
_UNREGISTER_S = 3.0


async def _serve(end: socket.socket, settings: RegistrarSettings) -> None:
    link = EdgeLink(settings.stack.edge, lambda _, message: stack.receive(message))
    stack = SipStack(settings.stack, link=functools.partial(link.send, 0))
    if settings.stack.edge:
        link.open()
    stopping = asyncio.Event()
    pipe: Pipe | None = None

    def on_command(command: Command) -> None:
        match command:
            case Register():
                registrations.keep(command.trunks)
            case Stop():
                stopping.set()
            case _:
                raise TypeError(f"a registrar cannot run {type(command).__name__}")

    registrations = Registrations(stack, lambda event: pipe.send(event) if pipe is not None else None)
    pipe = await open_pipe(end, on_command, stopping.set)
    pipe.send(Ready(lines=0))
    loop = asyncio.get_running_loop()
    beat_s = loop.time()
    while not stopping.is_set():
        stack.poll()
        registrations.tick(loop.time())
        if loop.time() >= beat_s:
            beat_s = loop.time() + _HEARTBEAT_S
            pipe.send(Alive())
        await asyncio.sleep(_POLL_S)
    deadline_s = loop.time() + _UNREGISTER_S
    while registrations.held and loop.time() < deadline_s:
        registrations.leave()
        stack.poll()
        await asyncio.sleep(_POLL_S)
    link.close()
    pipe.close()


def main(end: socket.socket, settings: RegistrarSettings) -> None:
    """Run the process, from fork to exit."""
    set_up_logging(settings.log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(end, settings))
