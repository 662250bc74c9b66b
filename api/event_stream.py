"""A stream of server-sent events (WHATWG HTML §9.2) that ends with its source, its reader, or its reader's leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEARTBEAT_S = 15.0
"""After this long without an event a comment is sent, so that no proxy takes the connection for dead."""
HEARTBEAT = ": still here\n\n"
LOOK_S = 1.0
"""How often a stream without an event looks whether its reader may still listen."""


def event(name: str, json_text: str) -> str:
    """One event; ``json_text`` is a single line."""
    return f"event: {name}\ndata: {json_text}\n\n"


class EventStream(Response):
    """Sends ``first`` and what follows from ``source``, then closes ``source``, whoever ends first.

    ``allowed`` is asked before each event and each second; once it says no, nothing more is sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        first: str,
        source: AsyncGenerator[str, None],
        *,
        allowed: Callable[[], Awaitable[bool]],
        heartbeat_s: float = HEARTBEAT_S,
        look_s: float = LOOK_S,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._first = first
        self._source = source
        self._allowed = allowed
        self._heartbeat_s = heartbeat_s
        self._look_s = look_s
        # X-Accel-Buffering: nginx would hold events back until its buffer is full.
        self.init_headers({"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._source):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                await self._copy(receive, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _copy(self, receive: Receive, send: Send) -> None:
        text: str | None = self._first
        gone = asyncio.ensure_future(_disconnection(receive))
        following = asyncio.ensure_future(anext(self._source, None))
        loop = asyncio.get_running_loop()
        heartbeat_at_s = 0.0
        try:
            while text is not None and not gone.done():
                if text:
                    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
                    heartbeat_at_s = loop.time() + self._heartbeat_s
                await asyncio.wait({gone, following}, timeout=self._look_s, return_when=asyncio.FIRST_COMPLETED)
                if not await self._allowed():
                    return
                text = HEARTBEAT if loop.time() >= heartbeat_at_s else ""
                if following.done():
                    text = following.result()
                    following = asyncio.ensure_future(anext(self._source, None))
        finally:
            await _cancel(gone, following)


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
