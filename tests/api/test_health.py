from __future__ import annotations

import httpx

from engine.readiness import Readiness
from tests.api.fakes import FakeEngine


async def test_health_and_readiness_need_no_key(client: httpx.AsyncClient) -> None:
    del client.headers["Authorization"]
    live, ready = await client.get("/healthz"), await client.get("/readyz")
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "checks": {"trunk main": "up"}})


async def test_engine_that_takes_no_calls_answers_503_and_says_which_part(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.state = Readiness(ready=False, checks={"trunk main": "down"})
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "checks": {"trunk main": "down"}}
    assert (await client.get("/healthz")).status_code == 200


async def test_metrics_are_those_of_the_keys_environment_and_need_a_key(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    metrics = await client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert metrics.text in ("of_live 1\n", "of_test 1\n")
    del client.headers["Authorization"]
    assert (await client.get("/metrics")).status_code == 401
