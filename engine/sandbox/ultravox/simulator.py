"""A simulated Ultravox on loopback: its HTTP server and its clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Final, Self, cast

import uvicorn

from engine.sandbox.dialogue import APPOINTMENT, Dialogue
from engine.sandbox.ultravox.account import Account
from engine.sandbox.ultravox.agent_socket import AgentSocket, Refusal
from engine.sandbox.ultravox.conversation import Conversation
from engine.sandbox.ultravox.knobs import Knobs
from engine.sandbox.ultravox.rest import create_app

_TICK_S: Final = 0.01
_BACKLOG: Final = 512


class SimulatedUltravox:
    """REST and sockets at ``base_url`` (``http://127.0.0.1:PORT``) while the ``async with`` block runs.

    ``account`` holds its calls and takes most of the arguments. ``on_join`` gets each conversation before its first
    message.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        api_key: str | None = None,
        dialogue: Dialogue = APPOINTMENT,
        strict: bool = True,
        capture_s: float = 0.0,
        knobs: Knobs | None = None,
        on_join: Callable[[Conversation, AgentSocket], None] | None = None,
    ) -> None:
        self._on_join = on_join
        self._listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        authority = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.base_url = f"http://{authority}"
        self.account = Account(
            authority, api_key=api_key, dialogue=dialogue, strict=strict, capture_s=capture_s, knobs=knobs or Knobs()
        )
        self._sockets: list[AgentSocket] = []
        self._server = _Server(
            uvicorn.Config(
                create_app(self.account),
                ws=cast("type[asyncio.Protocol]", partial(AgentSocket, self._admit)),
                lifespan="off",
                log_config=None,
                # Access lines would print join URLs, which are credentials.
                access_log=False,
                log_level=logging.WARNING,
                timeout_graceful_shutdown=1,
            )
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._ticked = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._server.serve(sockets=[self._listener])),
            asyncio.create_task(self._tick()),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        serving, ticking = self._tasks
        self._server.should_exit = True
        await serving
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        self._listener.close()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Return once ``condition`` holds; raises ``TimeoutError``. For tests."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self._ticked.wait()

    def _admit(self, agent_socket: AgentSocket, target: str) -> Conversation | Refusal:
        admitted = self.account.admit(target, asyncio.get_running_loop().time())
        if isinstance(admitted, Conversation):
            self._sockets.append(agent_socket)
            if self._on_join is not None:
                self._on_join(admitted, agent_socket)
        return admitted

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            for agent_socket in self._sockets:
                agent_socket.poll(now)
            for call in self.account.calls.values():
                call.poll(now)
            self._sockets = [agent_socket for agent_socket in self._sockets if not agent_socket.over]
            self._ticked.set()
            self._ticked.clear()
            await asyncio.sleep(_TICK_S)


class _Server(uvicorn.Server):
    """A server that installs no signal handlers: they belong to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
