"""A real ``trunkline serve`` whose descriptors strangers try to use up."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from tests.sip.server import ServerProcess

pytestmark = pytest.mark.sip

DESCRIPTORS, CONNECTIONS = 300, 400


async def test_strangers_connections_take_no_descriptor_from_calls(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, limits[1]))  # the server inherits it
    async with ServerProcess(tmp_path, "[sip]\nmax_calls = 4\n") as server:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        strangers = []
        for number in range(CONNECTIONS):
            _, writer = await asyncio.open_connection("127.0.0.1", server.client.base_url.port)
            if number % 2:
                writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
            strangers.append(writer)
        assert (await server.client.get("/healthz")).status_code == 200
        call = await server.place(to="+15005550006", systemPrompt="Be brief.")
        record = await server.until(call, "completed", "failed")
        assert record["ended"]["cause"] == "callee-hangup"
        for writer in strangers:
            writer.close()
