"""The whole program running: an engine with the API in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from api.app import create_app
from api.call_views import show_call
from api.cli.client import url_of
from api.cli.failure import CommandFailed
from api.server import connection_limit, uvicorn_config
from engine.assembly import running_engine
from engine.config.settings import Config, HttpConfig
from engine.engine import Engine
from engine.log import LogSettings


class _Server(uvicorn.Server):
    """A server without signal handlers: the command handles signals, because it must close more than HTTP."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Served:
    """The running program: its URL, the server's task, which ends early only if the server fails, and the engine."""

    url: str
    serving: asyncio.Task[None]
    engine: Engine


@asynccontextmanager
async def running_server(config: Config, *, log: LogSettings, recordings: Path | None = None) -> AsyncIterator[Served]:
    """Serve until the block ends.

    The engine closes first, while the API still answers, so that clients that follow a call see its end.
    """
    with _listen(config.http) as listening:
        url = url_of(config.http.model_copy(update={"port": listening.getsockname()[1]}))
        server: _Server | None = None
        try:
            async with running_engine(config, log=log, recordings=recordings, show_call=show_call) as engine:
                app, most = create_app(engine), connection_limit(config.sip.max_calls)
                server = _Server(uvicorn_config(app, config.http.host, config.http.port, most_connections=most))
                serving = asyncio.create_task(server.serve(sockets=[listening]))
                yield Served(url, serving, engine)
        finally:
            if server is not None:
                server.should_exit = True
                await serving


def _listen(http: HttpConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        listening = socket.create_server((http.host, http.port), family=family)
        # asyncio sets this only on sockets that say that they are TCP, and accepted ones do not. Without it, an
        # answer's body can wait 40 ms for the acknowledgement of its headers (Nagle's algorithm and delayed ACKs).
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise CommandFailed(
            f"The API cannot listen on {http.host} port {http.port}: {error.strerror}. Is Trunkline running already? "
            "Change [http] in the configuration."
        ) from None
