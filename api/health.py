"""Whether the process lives, and whether it can take calls; for load balancers, so without a key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from api.ports import Engine
from api.views import Alive, ReadinessView, answer


class Health:
    """Neither operation waits for anything."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def live(self, _: Request) -> Response:
        return answer(Alive(status="ok"))

    async def ready(self, _: Request) -> Response:
        state = self._engine.readiness()
        return answer(ReadinessView(ready=state.ready, checks=dict(state.checks)), 200 if state.ready else 503)
