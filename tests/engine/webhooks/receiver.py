"""An endpoint on loopback that answers as the test says and keeps what it gets."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import standardwebhooks


@dataclass(frozen=True, slots=True)
class Received:
    head: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    def verify(self, secret: str) -> None:
        standardwebhooks.Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """``answer`` gives the status for each request, now or later; None: no answer at all."""

    def __init__(self, answer: Callable[[Received], int | Awaitable[int] | None]) -> None:
        self._answer = answer
        self.received: list[Received] = []
        self.unanswered = 0
        self.most_unanswered = 0
        self.port = 0
        self.extra = ""
        self.body = b"ok"

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
        tasks: set[asyncio.Task[Any]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tuple(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, count: int) -> list[Received]:
        """The requests, once there are this many."""
        async with asyncio.timeout(30):
            while len(self.received) < count:
                await asyncio.sleep(0.005)
        return self.received

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        request = Received(head, headers, await reader.readexactly(int(headers["content-length"])))
        self.received.append(request)
        status = self._answer(request)
        if isinstance(status, Awaitable):
            status = await status
        if status is None:
            self.unanswered += 1
            self.most_unanswered = max(self.most_unanswered, self.unanswered)
            await reader.read()  # until the other side has had enough
            self.unanswered -= 1
            return
        start = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(self.body)}\r\n{self.extra}\r\n"
        writer.write(start.encode() + self.body)
        await writer.drain()
