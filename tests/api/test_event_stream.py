from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from unittest.mock import AsyncMock

import pytest
from starlette.types import Message, Scope

from api.event_stream import HEARTBEAT, EventStream, event


class Reader:
    """A client at the other end of ASGI: keeps what is sent, leaves when `gone` is set."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.gone = asyncio.Event()
        self.has: asyncio.Queue[str] = asyncio.Queue()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(message)
        if message.get("body"):
            self.has.put_nowait(message["body"].decode())

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()


class Source:
    """Yields what is put; remembers that it was closed."""

    def __init__(self) -> None:
        self.put: asyncio.Queue[str | None] = asyncio.Queue()
        self.closed = False

    async def stream(self) -> AsyncGenerator[str, None]:
        try:
            yield "first"
            while (text := await self.put.get()) is not None:
                yield text
        finally:
            self.closed = True


def scope(method: str = "GET") -> Scope:
    return {"type": "http", "method": method}


async def always() -> bool:
    return True


async def started(
    heartbeat_s: float = 60.0, allowed: Callable[[], Awaitable[bool]] = always
) -> tuple[EventStream, Source]:
    source = Source()
    stream = source.stream()
    return EventStream(await anext(stream), stream, allowed=allowed, heartbeat_s=heartbeat_s, check_s=0.001), source


def test_event_is_framed_for_event_source() -> None:
    assert event("status", '{"a":1}') == 'event: status\ndata: {"a":1}\n\n'


async def test_stream_ends_with_its_source() -> None:
    response, source = await started()
    for text in ("second", "third", None):
        source.put.put_nowait(text)
    reader = Reader()
    await response(scope(), reader.receive, reader.send)
    assert reader.text == "firstsecondthird"
    assert dict(reader.messages[0]["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert reader.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert source.closed


async def test_silence_is_filled_with_heartbeats() -> None:
    response, source = await started(heartbeat_s=0.001)
    reader = Reader()
    serving = asyncio.create_task(response(scope(), reader.receive, reader.send))
    assert [await reader.has.get() for _ in range(3)] == ["first", HEARTBEAT, HEARTBEAT]
    source.put.put_nowait("second")
    while await reader.has.get() != "second":
        pass
    source.put.put_nowait(None)
    await serving


async def test_reader_that_leaves_ends_the_source() -> None:
    response, source = await started()
    reader = Reader()
    serving = asyncio.create_task(response(scope(), reader.receive, reader.send))
    await reader.has.get()
    reader.gone.set()
    await serving
    assert source.closed


async def test_reader_that_leaves_while_an_event_is_sent_ends_the_source() -> None:
    response, source = await started()
    reader = Reader()

    async def send_slowly(message: Message) -> None:
        await reader.send(message)
        if message.get("body"):
            await asyncio.Event().wait()

    serving = asyncio.create_task(response(scope(), reader.receive, send_slowly))
    await reader.has.get()
    reader.gone.set()
    await serving
    assert source.closed


async def test_failure_of_the_source_is_raised_after_what_came_before() -> None:
    async def failing() -> AsyncGenerator[str, None]:
        yield "second"
        raise ZeroDivisionError

    reader = Reader()
    with pytest.raises(ZeroDivisionError):
        await EventStream("first", failing(), allowed=always)(scope(), reader.receive, reader.send)
    assert reader.text == "firstsecond"
    assert reader.messages[-1]["more_body"]


@pytest.mark.parametrize("event_waits", [True, False])
async def test_reader_that_is_no_longer_allowed_gets_nothing_more(event_waits: bool) -> None:
    response, source = await started(allowed=AsyncMock(side_effect=[True, True, False]))
    reader = Reader()
    serving = asyncio.create_task(response(scope(), reader.receive, reader.send))
    if event_waits:
        for text in ("second", "third", "fourth"):
            source.put.put_nowait(text)
    await serving
    assert reader.text == ("firstsecondthird" if event_waits else "first")
    assert source.closed


async def test_cancelled_stream_ends_the_source() -> None:
    response, source = await started()
    reader = Reader()
    serving = asyncio.create_task(response(scope(), reader.receive, reader.send))
    await reader.has.get()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert source.closed


async def test_head_is_answered_without_a_stream() -> None:
    response, source = await started()
    reader = Reader()
    await response(scope("HEAD"), reader.receive, reader.send)
    assert reader.text == ""
    assert source.closed
