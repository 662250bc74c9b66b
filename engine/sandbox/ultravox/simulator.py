"""A simulated Ultravox on loopback: the table of its calls, their joining, and its clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import parse_qs, urlsplit

import uvicorn

from engine.sandbox.dialogue import APPOINTMENT, Dialogue
from engine.sandbox.speech import speech
from engine.sandbox.ultravox.admission import Admission
from engine.sandbox.ultravox.agent_socket import AgentSocket, Refusal
from engine.sandbox.ultravox.call import SimulatedCall
from engine.sandbox.ultravox.conversation import Conversation
from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import Knobs
from engine.sandbox.ultravox.requests import CallSettings
from engine.sandbox.ultravox.rest import create_app

_TICK_S: Final = 0.01
_REMEMBERED_CALLS: Final = 1000
_BACKLOG: Final = 512


class SimulatedUltravox:
    """REST and sockets at ``base_url`` (``http://127.0.0.1:PORT``) while the ``async with`` block runs.

    ``api_key``: the only one accepted; None accepts any that is not empty. ``strict``: an unknown request field is a
    400. ``capture_s``: how much of each caller's audio is kept, the newest. ``calls`` holds the last 1000 by id, in
    order of creation; ``faults`` are those that belong to no call. ``knobs`` may be replaced at any time. ``on_join``
    sees each conversation before its first message.
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
        self.api_key = api_key
        self.strict = strict
        self.knobs = knobs or Knobs()
        self.calls: dict[str, SimulatedCall] = {}
        self.faults = ClientFaults()
        self.admission = Admission(self.faults)
        self._dialogue = dialogue
        self._capture_s = capture_s
        self._on_join = on_join
        self._listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self._sockets: list[AgentSocket] = []
        self._server = _Server(
            uvicorn.Config(
                create_app(self),
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

    @property
    def base_url(self) -> str:
        return f"http://{self._authority}"

    @property
    def conversations(self) -> list[Conversation]:
        """Those that were joined, in order of creation."""
        return [call.conversation for call in self.calls.values() if call.conversation is not None]

    @property
    def live_calls(self) -> int:
        return sum(call.ended is None for call in self.calls.values())

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

    async def create(self, settings: CallSettings) -> SimulatedCall:
        """A new call, with what its agent will say already spoken."""
        loop = asyncio.get_running_loop()
        texts = [*self._dialogue.agent, settings.first.text, settings.time_exceeded]
        texts += [prompt.text for prompt in settings.inactivity]
        voice = _voice(settings.output_hz)
        await asyncio.to_thread(lambda: [voice(text) for text in texts if text])
        call_id = str(uuid.uuid4())
        join_url = f"ws://{self._authority}/calls/{call_id}/server_web_socket"
        call = SimulatedCall(call_id, join_url, settings, self.knobs.call, now=loop.time())
        for key in settings.unknown_keys:
            call.faults.note("unknown-request-field", loop.time(), key)
        self.calls[call_id] = call
        self._forget_old_calls()
        return call

    def _admit(self, agent_socket: AgentSocket, target: str) -> Conversation | Refusal:
        url = urlsplit(target)
        call = self.calls.get(url.path.removeprefix("/calls/").removesuffix("/server_web_socket"))
        now = asyncio.get_running_loop().time()
        if call is None or not url.path.endswith("/server_web_socket"):
            return Refusal(close_code=4404)
        if call.conversation is not None:
            call.faults.note("second-join", now)
            return Refusal(status=HTTPStatus.CONFLICT, close_code=4409 if call.knobs.second_join_closes else None)
        if call.ended is not None:
            call.faults.note("join-after-end", now)
            return Refusal(status=HTTPStatus.GONE)
        call.client_version = next(iter(parse_qs(url.query).get("clientVersion", [])), None)
        self._sockets.append(agent_socket)
        conversation = call.join(self._dialogue, _voice(call.settings.output_hz), now=now, capture_s=self._capture_s)
        if self._on_join is not None:
            self._on_join(conversation, agent_socket)
        return conversation

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            for agent_socket in self._sockets:
                agent_socket.poll(now)
            for call in self.calls.values():
                call.poll(now)
            self._sockets = [agent_socket for agent_socket in self._sockets if not agent_socket.over]
            self._ticked.set()
            self._ticked.clear()
            await asyncio.sleep(_TICK_S)

    def _forget_old_calls(self) -> None:
        ended = [call_id for call_id, call in self.calls.items() if call.ended is not None]
        for call_id in ended[: max(0, len(self.calls) - _REMEMBERED_CALLS)]:
            del self.calls[call_id]

    @property
    def _authority(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"


class _Server(uvicorn.Server):
    """Leaves the process's signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _voice(output_hz: int) -> Callable[[str], bytes]:
    return lambda text: speech(text, output_hz, "agent") if text else b""
