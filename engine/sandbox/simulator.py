"""The process that runs the sandbox's simulated Ultravox."""

from __future__ import annotations

import asyncio
import socket

import uvloop

from engine.log import set_up_logging
from engine.messages.commands import Command
from engine.messages.pipe import open_pipe
from engine.messages.settings import SimulatorReady, SimulatorSettings
from engine.sandbox.ultravox import SimulatedUltravox


async def _serve(end: socket.socket, settings: SimulatorSettings) -> None:
    stopping = asyncio.Event()

    def on_command(_: Command) -> None:
        stopping.set()

    async with SimulatedUltravox(api_key=settings.api_key) as simulator:
        pipe = await open_pipe(end, on_command, stopping.set)
        pipe.send(SimulatorReady(base_url=simulator.base_url))
        await stopping.wait()
        pipe.close()


def main(end: socket.socket, settings: SimulatorSettings) -> None:
    """Run the process, from fork until the control process closes its end."""
    set_up_logging(settings.log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(end, settings))
