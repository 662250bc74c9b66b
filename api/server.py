"""How uvicorn serves the application."""

from __future__ import annotations

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.boundary import HEADERS
from api.problems import BAD_REQUEST, problem

GRACE_S = 10
"""How long a shutdown waits for requests in progress; then event streams are cut off."""


class ProblemProtocol(H11Protocol):
    """HTTP/1.1 (RFC 9112) that answers a malformed request with a problem, like every other error."""

    def send_400_response(self, msg: str) -> None:
        refusal = problem(BAD_REQUEST, msg, headers={**HEADERS, "Connection": "close"})
        begin = h11.Response(status_code=refusal.status_code, headers=refusal.raw_headers, reason=b"Bad Request")
        for event in (begin, h11.Data(data=bytes(refusal.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def uvicorn_config(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    """One process, one loop (the caller's), no access log (the times and ids of calls are private)."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=ProblemProtocol,  # h11, unlike httptools, bounds the size of the request line and headers
        h11_max_incomplete_event_size=16_384,
        ws="none",
        lifespan="off",  # the engine is started and stopped by the composition root
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on the client's address
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
    )
