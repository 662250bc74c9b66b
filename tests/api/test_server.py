from __future__ import annotations

import asyncio
import json
import resource
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from api import server as api_server
from api.server import connection_limit, uvicorn_config
from engine.records import Status
from tests.api.fakes import LIVE_KEY, FakeEngine, a_call

MOST_CONNECTIONS = 4


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[tuple[str, int]]:
    server = uvicorn.Server(uvicorn_config(app, "127.0.0.1", 0, most_connections=MOST_CONNECTIONS))
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


GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST = f"POST /api/voice HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {LIVE_KEY}\r\n".encode()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_server, "HEAD_S", 0.1)
    monkeypatch.setattr(api_server, "BODY_S", 0.2)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r")[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """All that still comes; fails when the server does not close."""
    async with asyncio.timeout(5):
        return await reader.read()


@pytest.mark.usefixtures("impatient")
async def test_connection_that_asks_nothing_is_closed(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    assert await until_closed(reader) == b""
    writer.close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "part",
    [
        pytest.param(GET[:20], id="half a head"),
        pytest.param(POST + b"Content-Length: 9\r\n\r\n{", id="half a body"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", id="half a chunk"),
    ],
)
@pytest.mark.parametrize("after", [b"", GET], ids=["first request", "second request"])
async def test_unfinished_request_gets_a_408_and_is_closed(
    address: tuple[str, int], after: bytes, part: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection(*address)
    if after:
        writer.write(after)
        assert (await answer(reader))[0] == 200
    writer.write(part)
    status, body = await answer(reader)
    assert (status, json.loads(body)["type"].rpartition("/")[2]) == (408, "request-timeout")
    assert await until_closed(reader) == b""
    writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.usefixtures("impatient")
async def test_head_that_comes_byte_by_byte_is_not_waited_for(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    answering = asyncio.create_task(answer(reader))
    for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 10_000:
        if answering.done():
            break
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.01)
    assert (await answering)[0] == 408
    writer.close()


@pytest.mark.usefixtures("impatient")
async def test_body_that_trickles_after_its_refusal_is_not_waited_for(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST /api/voice HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    assert (await answer(reader))[0] == 401
    closed = asyncio.create_task(until_closed(reader))
    for _ in range(200):
        if closed.done():
            break
        writer.write(b"x")
        await asyncio.sleep(0.01)
    assert await closed == b""
    writer.close()


@pytest.mark.usefixtures("impatient")
async def test_time_limits_of_a_request_do_not_end_a_stream_or_an_idle_connection(
    address: tuple[str, int], engine: FakeEngine
) -> None:
    call = a_call(status=Status.RINGING)
    engine.calls[call.id] = call
    follower, following = await asyncio.open_connection(*address)
    head = f"GET /api/voice/{call.id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {LIVE_KEY}\r\n\r\n"
    following.write(head.encode())
    await follower.readuntil(b"event: status\n")
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(2):
        writer.write(GET)
        assert (await answer(reader))[0] == 200
        await asyncio.sleep(0.4)
    assert len(engine.watchers) == 1
    for each in (writer, following):
        each.close()
        await each.wait_closed()


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(b"HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked", id="length and chunks"),
        pytest.param(b"HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4", id="chunks and length"),
        pytest.param(b"HTTP/1.0\r\nTransfer-Encoding: chunked", id="chunks in HTTP/1.0"),
    ],
)
async def test_request_of_ambiguous_length_is_refused_and_closed(
    address: tuple[str, int], engine: FakeEngine, framing: bytes
) -> None:
    """RFC 9112 §6.1: what one server takes for the body, another takes for the next request."""
    reader, writer = await asyncio.open_connection(*address)
    body = b'{"from":"+15005550100","to":"+15005550001"}'
    head = POST.replace(b"HTTP/1.1", framing) + b"Content-Type: application/json\r\n\r\n"
    writer.write(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) + GET)
    status, refusal = await answer(reader)
    assert (status, json.loads(refusal)["type"].rpartition("/")[2]) == (400, "bad-request")
    assert await until_closed(reader) == b""
    assert not engine.calls
    writer.close()


async def test_garbage_in_a_body_that_was_refused_already_closes_the_connection_quietly(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST /api/voice HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await answer(reader))[0] == 401
    writer.write(b"no chunk\r\n")
    assert await until_closed(reader) == b""
    writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_new_client_is_served_while_idle_connections_fill_the_server(address: tuple[str, int]) -> None:
    idle = [await asyncio.open_connection(*address) for _ in range(MOST_CONNECTIONS)]
    idle[0][1].write(GET[:20])
    for _ in range(MOST_CONNECTIONS):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET)
        assert (await answer(reader))[0] == 200
        idle.append((reader, writer))
    for reader, _ in idle[:MOST_CONNECTIONS]:
        assert await until_closed(reader) == b""
    for _, writer in idle:
        writer.close()


async def test_connection_beyond_the_limit_is_refused_while_all_others_are_in_use(
    address: tuple[str, int], engine: FakeEngine
) -> None:
    call = a_call(status=Status.RINGING)
    engine.calls[call.id] = call
    head = f"GET /api/voice/{call.id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {LIVE_KEY}\r\n\r\n"
    streams = [await asyncio.open_connection(*address) for _ in range(MOST_CONNECTIONS)]
    for reader, writer in streams:
        writer.write(head.encode())
        await reader.readuntil(b"event: status\n")
    reader, refused = await asyncio.open_connection(*address)
    status, body = await answer(reader)
    assert (status, json.loads(body)["type"].rpartition("/")[2]) == (503, "no-capacity")
    assert await until_closed(reader) == b""
    assert len(engine.watchers) == MOST_CONNECTIONS
    for _, writer in (*streams, (reader, refused)):
        writer.close()


@pytest.mark.parametrize(
    ("descriptors", "max_calls", "connections"),
    [(1024, 32, 704), (65_536, 100, 4096), (resource.RLIM_INFINITY, 100, 4096), (300, 32, 16)],
)
def test_connections_leave_descriptors_for_calls(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, max_calls: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert connection_limit(max_calls) == connections
