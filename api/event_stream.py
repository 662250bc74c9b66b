"""Server-sent events (WHATWG HTML §9.2), until the source ends, the client leaves or loses its permission."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

HEARTBEAT_S = 15.0
"""After this long without an event a comment is sent, so that no proxy closes the connection as idle."""
HEARTBEAT = ": still here\n\n"
CHECK_S = 1.0
"""How often a stream without an event checks that its client may still listen."""


def event(name: str, json_text: str) -> str:
    """One event; ``json_text`` is a single line."""
    return f"event: {name}\ndata: {json_text}\n\n"


class EventStream(StreamingResponse):
    """Sends ``first`` and the events of ``source``, with heartbeats between, and closes ``source`` however it ends.

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
        check_s: float = CHECK_S,
    ) -> None:
        self._source = source
        self._texts = self._follow(first, allowed, heartbeat_s, check_s)
        # X-Accel-Buffering: nginx would hold events back until its buffer is full.
        super().__init__(self._texts, headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._source), contextlib.aclosing(self._texts):
            if scope["method"] == "HEAD":
                await self._texts.aclose()
            self._next = asyncio.ensure_future(anext(self._source, None))
            try:
                await super().__call__(scope, receive, send)
            finally:  # not in the generator: Starlette cancels every await there once the client has left
                self._next.cancel()
                await asyncio.gather(self._next, return_exceptions=True)

    async def _follow(
        self, text: str | None, allowed: Callable[[], Awaitable[bool]], heartbeat_s: float, check_s: float
    ) -> AsyncGenerator[str, None]:
        now_s, heartbeat_at_s = asyncio.get_running_loop().time, 0.0
        while text is not None:
            if text:
                yield text
                heartbeat_at_s = now_s() + heartbeat_s
            await asyncio.wait({self._next}, timeout=check_s)
            if not await allowed():
                return
            text = HEARTBEAT if now_s() >= heartbeat_at_s else ""
            if self._next.done():
                text = self._next.result()
                self._next = asyncio.ensure_future(anext(self._source, None))
