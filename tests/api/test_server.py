from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from api.server import uvicorn_config
from engine.records import Status
from tests.api.fakes import LIVE_KEY, FakeEngine, a_call


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[tuple[str, int]]:
    server = uvicorn.Server(uvicorn_config(app, "127.0.0.1", 0))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup([listener])
        yield listener.getsockname()
        await server.shutdown([listener])


async def test_answer_does_not_name_the_server_and_no_request_is_logged(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{address[1]}") as client:
        response = await client.get("/healthz", params={"key": LIVE_KEY})
    assert "server" not in response.headers
    assert not [record for record in caplog.records if record.name.startswith("uvicorn") and LIVE_KEY in str(record)]


async def test_body_of_two_megabytes_gets_its_413_over_a_real_connection(address: tuple[str, int]) -> None:
    headers = {"Authorization": f"Bearer {LIVE_KEY}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{address[1]}", headers=headers) as client:
        response = await client.post("/api/voice", content=b"x" * 2_000_000)
        assert response.status_code == 413
        assert response.json()["type"].endswith("/content-too-large")
        assert (await client.get("/healthz")).status_code == 200


async def test_endless_headers_are_refused(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 40_000)
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "request_head",
    [b"no HTTP at all\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"],
    ids=["garbage", "no Host", "space in the target"],
)
async def test_what_is_no_http_request_is_refused_with_a_problem_too(
    address: tuple[str, int], request_head: bytes
) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request_head)
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400 Bad Request")
    assert {"content-type: application/problem+json", "cache-control: no-store"} <= set(head.lower().split("\r\n"))
    assert json.loads(body)["type"].endswith("/bad-request")
    writer.close()
    await writer.wait_closed()


async def test_reader_of_events_that_hangs_up_ends_its_watch(address: tuple[str, int], engine: FakeEngine) -> None:
    call = a_call(status=Status.RINGING)
    engine.calls[call.id] = call
    reader, writer = await asyncio.open_connection(*address)
    request = f"GET /api/voice/{call.id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {LIVE_KEY}\r\n\r\n"
    writer.write(request.encode())
    await reader.readuntil(b"event: status\n")
    assert len(engine.watchers) == 1
    writer.close()
    await writer.wait_closed()
    await engine.unwatched.wait()
