"""What the process says of itself: that it lives, that it can take calls, its metrics, its API. Nothing waits."""

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
    """Whether new calls can be taken, with a word on every part."""

    ready: bool
    checks: Mapping[str, str]


async def get_liveness(_: Engine, __: Request) -> Response:
    """Whether the process serves requests."""
    return answer(Alive(status="ok"))


async def get_readiness(engine: Engine, _: Request) -> Response:
    """Whether new calls can be taken."""
    state = engine.readiness()
    return answer(ReadinessView(ready=state.ready, checks=dict(state.checks)), 200 if state.ready else 503)


async def get_metrics(engine: Engine, _: Request, key: ApiKey) -> Response:
    """Counters, times and gauges of the key's environment, in Prometheus' text format."""
    return Response(engine.metrics(key.environment), media_type="text/plain; version=0.0.4")


async def get_description(_: Engine, __: Request) -> Response:
    """This document."""
    return Response(_description(), media_type="application/json")


@functools.cache
def _description() -> bytes:
    return Path(__file__).with_name("openapi.json").read_bytes()
