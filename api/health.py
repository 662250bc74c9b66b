"""How the process does: whether it lives and can take calls, for load balancers, and its metrics."""

from __future__ import annotations

from collections.abc import Mapping
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


class Health:
    """No operation waits for anything. The metrics are those of the key's environment; the others need no key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def live(self, _: Request) -> Response:
        return answer(Alive(status="ok"))

    async def ready(self, _: Request) -> Response:
        state = self._engine.readiness()
        return answer(ReadinessView(ready=state.ready, checks=dict(state.checks)), 200 if state.ready else 503)

    async def metrics(self, _: Request, key: ApiKey) -> Response:
        return Response(self._engine.metrics(key.environment), media_type="text/plain; version=0.0.4")
