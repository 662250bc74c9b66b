"""The process itself: its liveness, its readiness, its metrics and the description of its API. Nothing waits."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from api.models import View, answer
from api.ports import Engine
from engine.keys.key import ApiKey


class Alive(View):
    """The process serves requests."""

    status: Literal["ok"]


class ReadinessView(View):
    """Whether new calls can be accepted, and the state of each part."""

    ready: bool
    checks: Mapping[str, str]


async def get_liveness(_: Engine, __: Request) -> Response:
    """Check that the process serves requests."""
    return answer(Alive(status="ok"))


async def get_readiness(engine: Engine, _: Request) -> Response:
    """Check that new calls can be accepted."""
    state = engine.readiness()
    return answer(ReadinessView(ready=state.ready, checks=dict(state.checks)), 200 if state.ready else 503)


async def get_metrics(engine: Engine, _: Request, key: ApiKey) -> Response:
    """Get the metrics of the key's environment, in the Prometheus text format."""
    return Response(engine.metrics(key.environment), media_type="text/plain; version=0.0.4")


async def get_description(_: Engine, __: Request) -> Response:
    """Get this document."""
    return Response(_description(), media_type="application/json")


@functools.cache
def _description() -> bytes:
    return Path(__file__).with_name("openapi.json").read_bytes()
