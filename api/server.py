"""How uvicorn serves the application, and what it grants a client that is slow, silent or one of too many."""

from __future__ import annotations

import asyncio
import resource
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from api.boundary import HEADERS
from api.problems import BAD_REQUEST, NO_CAPACITY, REQUEST_TIMEOUT, Kind, problem

GRACE_S = 10
"""How long a shutdown waits for requests in progress; then event streams are cut off."""
HEAD_S = 10.0
"""From the connection, or the first byte of a later request, to the end of the request's head."""
BODY_S = 30.0
"""From the end of the head to the end of the body."""
KEEP_ALIVE_S = 30
FLUSH_S = 5.0
"""How long a client has to read what was sent before the connection was closed."""

_BACKLOG = 128
"""Connections that the loop may accept at once, before any of them can be refused."""
_OWN_DESCRIPTORS = 128
"""Of the control process: the store, standard streams, the fork servers, Ultravox, webhooks, name look-ups."""
_DESCRIPTORS_PER_CALL = 2
"""A share of a worker's pipe, of a sandbox carrier's, a connection to Ultravox."""
_FEWEST_CONNECTIONS, _MOST_CONNECTIONS = 16, 4096


def connection_limit(max_calls: int) -> int:
    """How many HTTP connections may be open, so that ``max_calls`` calls still find descriptors (RLIMIT_NOFILE)."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    left = descriptors - _BACKLOG - _OWN_DESCRIPTORS - _DESCRIPTORS_PER_CALL * max_calls
    return max(_FEWEST_CONNECTIONS, min(left, _MOST_CONNECTIONS))


class StrictConnection(h11.Connection):
    """Refuses a request whose length is ambiguous (RFC 9112 §6.1): an intermediary may have read it differently."""

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if b"transfer-encoding" in names and (b"content-length" in names or event.http_version < b"1.1"):
                raise h11.RemoteProtocolError("Transfer-Encoding beside Content-Length, or in HTTP/1.0")
        return event


class Connections:
    """Bounds the open connections: at the limit, the one that has waited longest for a request makes room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[ProblemProtocol, None] = {}

    def admit(self, count: int) -> bool:
        """Whether another connection may stay, the ``count``-th with it; one that waits may be closed for it."""
        if count <= self._most:
            return True
        longest = next(iter(self._waiting), None)
        if longest is not None:
            self.busy(longest)
            longest.end()
        return longest is not None

    def waits(self, connection: ProblemProtocol) -> None:
        """The connection has no request in progress."""
        self._waiting[connection] = None

    def busy(self, connection: ProblemProtocol) -> None:
        """The connection has a request, or is gone."""
        self._waiting.pop(connection, None)


class ProblemProtocol(H11Protocol):
    """HTTP/1.1 (RFC 9112) with a time limit for each part of a request.

    It answers a malformed or unfinished request with a problem, like every other error.
    """

    def __init__(
        self,
        connections: Connections,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = StrictConnection(h11.SERVER, config.h11_max_incomplete_event_size or 16_384)
        self._others = connections
        self._limit_s = 0.0
        self._deadline: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._others.admit(len(self.connections)):
            self._watch()
        else:
            self._refuse(NO_CAPACITY, "Too many connections are open.", {"Retry-After": "1"})

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(0.0)
        self._others.busy(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    # -- uvicorn's -----------------------------------------------------------------------------------------------------

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.end()
        else:
            self._watch()

    def timeout_keep_alive_handler(self) -> None:
        self.end()

    def send_400_response(self, msg: str) -> None:
        self._refuse(BAD_REQUEST, msg)

    # -- time limits ---------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Close; what was sent before may be read for a while."""
        self._expect(0.0)
        self.transport.close()
        self._deadline = self.loop.call_later(FLUSH_S, self.transport.abort)

    def _watch(self) -> None:
        """Limit the part of a request that the client is to send now, and note whether a request is in progress."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self._others.waits(self)
        else:
            self._others.busy(self)
        if self.conn.their_state is h11.IDLE:
            between_requests = self.timeout_keep_alive_task is not None and not self.conn.trailing_data[0]
            self._expect(0.0 if between_requests else HEAD_S)
        else:
            self._expect(BODY_S if self.conn.their_state is h11.SEND_BODY else 0.0)

    def _expect(self, within_s: float) -> None:
        """Start the time limit, or end it with 0; one that runs already goes on."""
        if within_s and within_s == self._limit_s:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._limit_s = within_s
        self._deadline = self.loop.call_later(within_s, self._too_slow) if within_s else None

    def _too_slow(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.end()  # it has asked for nothing
        else:
            self._refuse(REQUEST_TIMEOUT, f"The request was not complete within {self._limit_s:g} s.")

    def _refuse(self, kind: Kind, detail: str, headers: dict[str, str] | None = None) -> None:
        """Answer with a problem, unless an answer has begun, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            refusal = problem(kind, detail, headers={**HEADERS, **(headers or {}), "Connection": "close"})
            reason = HTTPStatus(kind.status).phrase.encode()
            begin = h11.Response(status_code=refusal.status_code, headers=refusal.raw_headers, reason=reason)
            for event in (begin, h11.Data(data=bytes(refusal.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.end()


def uvicorn_config(app: ASGIApp, host: str, port: int, *, most_connections: int = _MOST_CONNECTIONS) -> uvicorn.Config:
    """One process, one loop (the caller's), no access log (the times and ids of calls are private)."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        # h11, unlike httptools, bounds the size of the request line and headers
        http=cast(type[asyncio.Protocol], partial(ProblemProtocol, Connections(most_connections))),
        h11_max_incomplete_event_size=16_384,
        ws="none",
        lifespan="off",  # the engine is started and stopped by the composition root
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on the client's address
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
