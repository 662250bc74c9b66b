"""The process's inside, run in this one: ready with an address, gone with its control process."""

from __future__ import annotations

import asyncio
import socket

import httpx

from engine.log import LogSettings
from engine.messages.pipe import open_pipe
from engine.messages.settings import SimulatorReady, SimulatorSettings
from engine.sandbox import simulator


async def test_it_is_ready_with_an_address_and_ends_with_the_pipe() -> None:
    ours, theirs = socket.socketpair()
    ready: asyncio.Future[SimulatorReady] = asyncio.get_running_loop().create_future()
    pipe = await open_pipe(ours, ready.set_result, lambda: None, of_child=False)
    serving = asyncio.create_task(simulator._serve(theirs, SimulatorSettings(log=LogSettings(), api_key="k")))
    async with httpx.AsyncClient(base_url=(await ready).base_url, headers={"X-API-Key": "k"}) as client:
        assert (await client.get("/api/calls")).status_code == 200
    pipe.close()
    await serving
