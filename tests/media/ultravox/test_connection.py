from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import struct
import subprocess
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.utils import accept_key

from media.errors import AgentUnreachable
from media.ultravox import connection as module
from media.ultravox.connection import AgentConnection, PendingSession
from media.ultravox.session import AgentState, SessionEvent, SessionStarted, ToolInvoked, TurnFinal
from media.ultravox.websocket import Closed

SECRET = "s3cret-join-path"
FRAME = bytes(range(160)) * 2
UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

STARTED = json.dumps({"type": "call_started", "callId": "c"})
SPEAKING = json.dumps({"type": "state", "state": "speaking"})
TURN = json.dumps({"type": "transcript", "role": "user", "ordinal": 1, "text": "Bye", "final": True})
OPEN_TURN = json.dumps({"type": "transcript", "role": "agent", "ordinal": 2, "text": "Well", "final": False})
TOOL = json.dumps({"type": "client_tool_invocation", "toolName": "t", "invocationId": "i", "parameters": {}})

Agent = Callable[[ServerConnection], Awaitable[None]]
RawAgent = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Caller:
    """The near end: joins, and keeps what it is told."""

    def __init__(self) -> None:
        self.audio: list[bytes] = []
        self.events: list[SessionEvent] = []
        self.closed: list[Closed] = []
        self.connection: AgentConnection | None = None
        self.early: list[object] = []
        self._end = asyncio.Event()

    async def join(self, url: str, **options: Any) -> AgentConnection:
        return await self.enter(PendingSession(url, tls=options.pop("tls", UNUSED_TLS)), **options)

    async def enter(self, pending: PendingSession, **options: Any) -> AgentConnection:
        self.connection = await pending.join(
            on_audio=self._on_audio, on_event=self._on_event, on_closed=self._on_closed, **options
        )
        return self.connection

    async def end(self) -> Closed:
        async with asyncio.timeout(30):
            await self._end.wait()
        await asyncio.sleep(0.01)  # a second call, if there were one, would come now
        assert self.connection is not None
        assert len(self.closed) == 1
        assert self.early == []
        return self.closed[0]

    def _on_audio(self, pcm: bytes) -> None:
        self._check(pcm)
        self.audio.append(pcm)

    def _on_event(self, event: SessionEvent) -> None:
        self._check(event)
        self.events.append(event)

    def _on_closed(self, closed: Closed) -> None:
        self._check(closed)
        self.closed.append(closed)
        self._end.set()

    def _check(self, told: object) -> None:
        if self.connection is None or self.closed:
            self.early.append(told)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def an_agent(script: Agent, **options: Any) -> AsyncIterator[str]:
    """A real WebSocket server; its URL."""
    async with serve(script, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/calls/{SECRET}/server_web_socket"


@contextlib.asynccontextmanager
async def a_raw_agent(script: RawAgent) -> AsyncIterator[str]:
    """A TCP server that does as the script does; it is closed with its connections."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/calls/{SECRET}"
    finally:
        server.close()
        async with asyncio.timeout(30):
            await asyncio.gather(*tasks)


async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *first: Frame) -> None:
    """Accept the WebSocket, with ``first`` in the same segment."""
    answer = acceptance(await reader.readuntil(b"\r\n\r\n"))
    writer.write(answer + b"".join(frame.serialize(mask=False) for frame in first))


def acceptance(request: bytes) -> bytes:
    """The response that opens the WebSocket."""
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{head}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode()


def text(message: str, *, fin: bool = True) -> Frame:
    return Frame(Opcode.TEXT, message.encode(), fin)


def close_frame(code: int) -> Frame:
    return Frame(Opcode.CLOSE, Close(code, "").serialize())


def tolerated() -> contextlib.suppress:
    """An aborted connection may arrive as a reset."""
    return contextlib.suppress(ConnectionError)


def both_ends_tls(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client's context, and a server's that it trusts, for localhost."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        f"openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=localhost"
        f" -addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return ssl.create_default_context(cafile=str(certificate)), server


def bytes_acknowledged(tcp: socket.socket) -> int:
    """``tcpi_bytes_acked`` of Linux' ``struct tcp_info``."""
    return int(struct.unpack_from("=Q", tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128), 120)[0])


# -- the two directions ------------------------------------------------------------------------------------------------


async def test_caller_audio_arrives_in_order_and_is_counted() -> None:
    received: list[object] = []

    async def listen(ws: ServerConnection) -> None:
        received.extend([await ws.recv() for _ in range(50)])

    caller = Caller()
    async with an_agent(listen) as url:
        connection = await caller.join(url)
        for number in range(50):
            connection.send_audio(bytes([number]) * 320)
        closed = await caller.end()
    assert received == [bytes([number]) * 320 for number in range(50)]
    assert closed == Closed(code=1000, reason="", by_us=False)
    assert closed.clean


async def test_agent_audio_of_any_size_is_told_and_an_empty_message_is_not() -> None:
    async def speak(ws: ServerConnection) -> None:
        for pcm in (b"", b"\x01", FRAME, b"abc"):
            await ws.send(pcm)

    caller = Caller()
    async with an_agent(speak) as url:
        await caller.join(url)
        await caller.end()
    assert caller.audio == [b"\x01", FRAME, b"abc"]
    assert all(type(pcm) is bytes for pcm in caller.audio)


async def test_thirty_seconds_of_48_khz_in_one_message_arrive() -> None:
    utterance = bytes(30 * 2 * 48_000)

    async def speak(ws: ServerConnection) -> None:
        await ws.send(utterance)

    caller = Caller()
    async with an_agent(speak) as url:
        await caller.join(url)
        await caller.end()
    assert b"".join(caller.audio) == utterance


async def test_fragmented_messages_are_put_together() -> None:
    async def speak(ws: ServerConnection) -> None:
        await ws.send([FRAME[:100], FRAME[100:]])
        await ws.send([STARTED[:5], "", STARTED[5:]])
        await ws.send([b"", FRAME])

    caller = Caller()
    async with an_agent(speak) as url:
        await caller.join(url)
        await caller.end()
    assert b"".join(caller.audio) == FRAME + FRAME
    assert caller.events == [SessionStarted(call_id="c")]


async def test_messages_are_told_as_events_in_order_and_garbage_is_not() -> None:
    async def talk(ws: ServerConnection) -> None:
        for message in (SPEAKING, "", "{", '{"type":"new"}', b"\xff\xfe", STARTED, TURN):
            await ws.send(message, text=True)

    caller = Caller()
    async with an_agent(talk) as url:
        await caller.join(url)
        await caller.end()
    assert caller.events == [
        AgentState(state="speaking"),
        SessionStarted(call_id="c"),
        TurnFinal(ordinal=1, role="user", text="Bye", truncated=False),
    ]


async def test_tool_of_nobody_is_refused_by_its_invocation_id() -> None:
    answers: list[object] = []

    async def invoke(ws: ServerConnection) -> None:
        await ws.send(TOOL)
        answers.append(await ws.recv())

    caller = Caller()
    async with an_agent(invoke) as url:
        connection = await caller.join(url)
        await until(lambda: bool(caller.events))
        assert isinstance(caller.events[0], ToolInvoked)
        connection.refuse_tool(caller.events[0].invocation_id)
        await caller.end()
    assert [json.loads(str(answer)) for answer in answers] == [
        {"type": "client_tool_result", "invocationId": "i", "errorType": "undefined", "errorMessage": ""}
    ]


async def test_ping_is_answered() -> None:
    async def ping(ws: ServerConnection) -> None:
        await (await ws.ping(b"x"))

    caller = Caller()
    async with an_agent(ping) as url:
        await caller.join(url)
        assert (await caller.end()).clean


async def test_slow_far_end_makes_the_oldest_audio_drop_and_hears_the_newest() -> None:
    go = asyncio.Event()
    heard: list[int] = []

    async def dawdle(ws: ServerConnection) -> None:
        await go.wait()
        async for message in ws:
            assert isinstance(message, bytes)
            heard.append(int.from_bytes(message[:4], "big"))

    caller = Caller()
    async with an_agent(dawdle, max_queue=1) as url:
        connection = await caller.join(url)
        sent = 0
        while connection.dropped_frames < 100:
            connection.send_audio(sent.to_bytes(4, "big") * 80)
            sent += 1
            await asyncio.sleep(0)
        dropped = connection.dropped_frames
        go.set()
        await until(lambda: len(heard) == sent - dropped)
        connection.close()
        assert (await caller.end()).clean
    assert heard == sorted(set(heard))
    assert heard[-25:] == list(range(sent - 25, sent))


@pytest.mark.parametrize("secure", [False, True])
async def test_far_end_that_reads_nothing_leaves_a_second_of_audio_waiting_at_most(
    secure: bool, tmp_path: Path
) -> None:
    over = asyncio.Event()
    sent = 0

    async def dawdle(ws: ServerConnection) -> None:
        await over.wait()
        ws.transport.abort()

    def waiting_bytes() -> int:
        below = sent - connection.dropped_frames - len(connection._uplink)
        frame_bytes = len(FRAME) + 8 + (22 if secure else 0)  # RFC 6455 §5.2; a record of TLS 1.3 (RFC 8446 §5.2)
        return below * frame_bytes - (bytes_acknowledged(connection._tcp) - acknowledged)

    def stalled() -> bool:
        nonlocal sent
        for _ in range(20):
            connection.send_audio(FRAME)
        sent += 20
        connection.check_backlog()
        return connection.dropped_frames > 100 and waiting_bytes() < 16_000  # a second at 8 kHz

    near, far = both_ends_tls(tmp_path)
    async with an_agent(dawdle, max_queue=1, ssl=far if secure else None) as url:
        secure_url = url.replace("ws://127.0.0.1", "wss://localhost")
        connection = await Caller().join(secure_url if secure else url, tls=near)
        acknowledged = bytes_acknowledged(connection._tcp)
        try:
            await until(stalled)
        finally:
            over.set()


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_turns_before_the_far_ends_close_are_still_told_after_ours() -> None:
    async def finish_the_sentence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer, text(OPEN_TURN))
        await reader.readexactly(8)  # our close frame: two bytes of header, four of mask, two of code
        for frame in (text(TURN), close_frame(1000)):
            writer.write(frame.serialize(mask=False))
        assert await reader.read() == b""

    caller = Caller()
    async with a_raw_agent(finish_the_sentence) as url:
        connection = await caller.join(url)
        connection.close()
        connection.close()
        connection.send_audio(FRAME)
        connection.send_text("late")
        assert await caller.end() == Closed(code=1000, reason="", by_us=True)
    assert caller.events == [
        TurnFinal(ordinal=1, role="user", text="Bye", truncated=False),
        TurnFinal(ordinal=2, role="agent", text="Well", truncated=True),
    ]
    connection.send_audio(FRAME)
    connection.close()


async def test_close_that_is_not_echoed_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLOSE_S", 0.05)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer)
        with tolerated():
            await reader.read()

    caller = Caller()
    async with a_raw_agent(say_nothing) as url:
        connection = await caller.join(url)
        connection.close()
        assert await caller.end() == Closed(code=1000, reason="", by_us=True)


@pytest.mark.parametrize(("code", "clean"), [(1000, True), (1001, True), (1008, False), (4404, False), (4598, False)])
async def test_far_ends_close_code_is_told_after_the_open_turns(code: int, clean: bool) -> None:
    async def leave(ws: ServerConnection) -> None:
        await ws.send(OPEN_TURN)
        await ws.close(code, "why")

    caller = Caller()
    async with an_agent(leave) as url:
        await caller.join(url)
        closed = await caller.end()
    assert closed == Closed(code=code, reason="why", by_us=False)
    assert closed.clean is clean
    assert caller.events == [TurnFinal(ordinal=2, role="agent", text="Well", truncated=True)]


@pytest.mark.parametrize("abruptly", [True, False], ids=["reset", "end of stream"])
async def test_connection_lost_without_a_close_frame_is_1006(abruptly: bool) -> None:
    async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer, Frame(Opcode.BINARY, FRAME))
        await reader.readexactly(8)
        if abruptly:
            writer.transport.abort()

    caller = Caller()
    async with a_raw_agent(vanish) as url:
        connection = await caller.join(url)
        await until(lambda: bool(caller.audio))
        connection.send_audio(FRAME)
        closed = await caller.end()
    assert closed == Closed(code=1006, reason="", by_us=False)
    assert not closed.clean


@pytest.mark.parametrize(
    "flood",
    [
        struct.pack("!BBQ", 0x82, 127, 100 * 2**20) + bytes(100_000),
        text("x" * 300_000).serialize(mask=False),
        text("x" * 200_000, fin=False).serialize(mask=False) + Frame(Opcode.CONT, b"x" * 200_000).serialize(mask=False),
    ],
    ids=["100 MB", "long text", "long text in fragments"],
)
async def test_message_beyond_the_bounds_ends_the_session_with_1009(
    flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CLOSE_S", 0.05)

    async def drown(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer)
        writer.write(flood)
        with tolerated():
            await reader.read()

    caller = Caller()
    async with a_raw_agent(drown) as url:
        await caller.join(url)
        closed = await caller.end()
    assert (closed.code, closed.by_us, closed.clean) == (1009, True, False)
    assert closed.reason
    assert caller.events == []


async def test_turn_beyond_its_bound_ends_the_session_with_1008(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLOSE_S", 0.05)
    delta = {"type": "transcript", "role": "agent", "ordinal": 0, "final": False, "delta": "x" * 1000}

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer)
        writer.write(text(json.dumps(delta)).serialize(mask=False) * 100)
        with tolerated():
            await reader.read()

    caller = Caller()
    async with a_raw_agent(babble) as url:
        await caller.join(url)
        closed = await caller.end()
    assert (closed.code, closed.by_us, closed.clean) == (1008, True, False)
    assert closed.reason == "sent more than 65536 characters in a turn"
    (turn,) = caller.events
    assert isinstance(turn, TurnFinal) and turn.truncated and len(turn.text) == 65_000


async def test_frame_that_breaks_the_protocol_ends_the_session_with_1002() -> None:
    async def stutter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer)
        writer.write(b"\x87\x00")

    caller = Caller()
    async with a_raw_agent(stutter) as url:
        await caller.join(url)
        assert (await caller.end()).code == 1002


# -- joining -----------------------------------------------------------------------------------------------------------


async def test_request_carries_no_more_than_the_handshake_needs() -> None:
    requests: list[Request] = []

    async def look(ws: ServerConnection) -> None:
        assert ws.request is not None
        requests.append(ws.request)

    caller = Caller()
    async with an_agent(look) as url:
        await caller.join(url + "?apiVersion=1")
        await caller.end()
    assert requests[0].path == f"/calls/{SECRET}/server_web_socket?apiVersion=1"
    assert {name.lower() for name in requests[0].headers} == {
        "host",
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-version",
    }


async def test_tcp_is_ready_before_the_session_is_asked_for() -> None:
    came, requests = asyncio.Event(), []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    async with a_raw_agent(script) as url:
        pending = PendingSession(url, tls=UNUSED_TLS)
        async with asyncio.timeout(30):
            await came.wait()
        await asyncio.sleep(0.05)
        assert requests == []
        with pytest.raises(AgentUnreachable, match="503"):
            await Caller().enter(pending)
    assert len(requests) == 1  # an answer is an answer


@pytest.mark.parametrize("when", ["before it is asked", "when it is asked"])
async def test_far_end_that_does_not_wait_with_an_open_connection_is_connected_to_again(when: str) -> None:
    visits: list[asyncio.Event] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(left := asyncio.Event())
        if len(visits) > 1:
            await shake_hands(reader, writer, close_frame(1000))
            await reader.read()
        elif when == "when it is asked":
            await reader.readuntil(b"\r\n\r\n")
        left.set()

    caller = Caller()
    async with a_raw_agent(script) as url:
        pending = PendingSession(url, tls=UNUSED_TLS)
        await until(lambda: bool(visits))
        if when == "before it is asked":
            await visits[0].wait()
            await asyncio.sleep(0.05)
        await caller.enter(pending)
        assert (await caller.end()).code == 1000
    assert len(visits) == 2


async def test_approach_that_is_left_leaves_no_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        with tolerated():
            assert await reader.read() == b""

    arrived = asyncio.Event()
    async with a_raw_agent(script) as url:  # waits for the script's end
        pending = PendingSession(url, tls=UNUSED_TLS)
        await arrived.wait()
        await asyncio.sleep(0.01)
        pending.leave()


async def test_session_that_is_left_while_it_opens_is_closed_and_not_just_cut() -> None:
    asked, left = asyncio.Event(), asyncio.Event()
    heard = b""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        request = await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await left.wait()
        writer.write(acceptance(request))
        heard = await reader.readexactly(8)

    async with a_raw_agent(script) as url:
        joining = asyncio.create_task(Caller().join(url))
        await asked.wait()
        joining.cancel()
        await asyncio.wait([joining])
        left.set()
    mask, code = heard[2:6], heard[6:]
    assert heard[:2] == b"\x88\x82"
    assert bytes(a ^ b for a, b in zip(code, mask, strict=False)) == struct.pack("!H", 1000)


async def test_what_comes_with_the_handshake_is_told_after_connect_has_returned() -> None:
    async def hurry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer, text(STARTED), Frame(Opcode.BINARY, FRAME), close_frame(4404))

    caller = Caller()
    async with a_raw_agent(hurry) as url:
        await caller.join(url)
        assert (await caller.end()).code == 4404
    assert caller.events == [SessionStarted(call_id="c")]
    assert caller.audio == [FRAME]


async def test_connection_closed_as_soon_as_it_is_open_still_ends_once() -> None:
    async def wait(ws: ServerConnection) -> None:
        await ws.wait_closed()

    caller = Caller()
    async with an_agent(wait) as url:
        (await caller.join(url)).close()
        assert await caller.end() == Closed(code=1000, reason="", by_us=True)


async def test_wss_verifies_the_certificate(tmp_path: Path) -> None:
    near, far = both_ends_tls(tmp_path)

    async def echo(ws: ServerConnection) -> None:
        await ws.send(await ws.recv())

    async with an_agent(echo, ssl=far) as url:
        url = url.replace("ws://127.0.0.1", "wss://localhost")
        caller = Caller()
        connection = await caller.join(url, tls=near)
        connection.send_audio(FRAME)
        assert (await caller.end()).clean
        assert caller.audio == [FRAME]
        with pytest.raises(AgentUnreachable, match="certificate that is not trusted"):
            await Caller().join(url, tls=ssl.create_default_context())


# -- joining in vain ---------------------------------------------------------------------------------------------------


async def join_in_vain(url: str, caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    """What the error says; neither it, nor anything that hangs on it, nor any log line has the join URL."""
    caplog.set_level(logging.DEBUG)
    caller = Caller()
    with pytest.raises(AgentUnreachable) as caught:
        await caller.join(url, **options)
    await asyncio.sleep(0.02)
    assert not caller.events
    assert not caller.closed
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = "".join([str(error), repr(error), *traceback.format_exception(error), caplog.text])
    assert SECRET not in shown
    return str(error)


@pytest.mark.parametrize(
    "url",
    [
        f"https://ultravox.example/{SECRET}",
        f"wss:///{SECRET}",
        f"wss://[{SECRET}",
        f"wss://host:{SECRET}/",
        f"wss://{SECRET}{'x' * 64}.example/",
        f"wss://{SECRET}@host/",
        f"wss://host/#{SECRET}",
        "",
    ],
)
async def test_join_url_that_is_none_is_not_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert "no WebSocket URL" in await join_in_vain(url, caplog)


async def test_nobody_listening_is_unreachable(caplog: pytest.LogCaptureFixture) -> None:
    async def wait(ws: ServerConnection) -> None:
        await ws.wait_closed()

    async with an_agent(wait) as url:
        pass
    assert "could not be reached" in await join_in_vain(url, caplog)


async def test_refused_handshake_tells_the_http_status(caplog: pytest.LogCaptureFixture) -> None:
    async def wait(ws: ServerConnection) -> None:
        await ws.wait_closed()

    def refuse(ws: ServerConnection, request: Request) -> Response:
        return ws.respond(409, "taken")

    async with an_agent(wait, process_request=refuse, logger=logging.Logger("far end", 60)) as url:
        assert "refused with HTTP status 409" in await join_in_vain(url, caplog)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n"])
async def test_answer_that_is_no_handshake_is_unreachable(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with a_raw_agent(mumble) as url:
        assert "did not answer as a WebSocket" in await join_in_vain(url, caplog)


async def test_far_end_that_does_not_answer_is_left_in_time(caplog: pytest.LogCaptureFixture) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with tolerated():
            await reader.read()

    async with a_raw_agent(say_nothing) as url:
        assert "did not open in time" in await join_in_vain(url, caplog, timeout_s=0.1)


async def test_cancelled_join_leaves_no_connection() -> None:
    arrived = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        with tolerated():
            assert await reader.read() == b""

    caller = Caller()
    async with a_raw_agent(say_nothing) as url:
        joining = asyncio.create_task(caller.join(url))
        await arrived.wait()
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
    assert not caller.closed


async def test_session_that_worked_left_no_trace_of_the_join_url(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def talk(ws: ServerConnection) -> None:
        await ws.send(STARTED)

    caller = Caller()
    async with an_agent(talk, logger=logging.Logger("far end", 60)) as url:
        connection = await caller.join(url)
        await caller.end()
    assert SECRET not in caplog.text + repr(connection)
