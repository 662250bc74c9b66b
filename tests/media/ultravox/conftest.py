from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Workers run on uvloop, the control process may not: both loops' transports carry these tests."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
