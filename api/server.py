"""How uvicorn serves the application."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

GRACE_S = 10
"""How long a shutdown waits for answers under way; after it, event streams are cut."""


def uvicorn_config(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    """One process, one loop (the caller's), no access log (paths and times of calls are nobody's business)."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http="h11",  # unlike httptools it bounds what a request line and headers may take
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
