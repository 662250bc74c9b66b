"""A client in front of the application and a fake engine; every answer it gets must be as the OpenAPI document says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from starlette.applications import Starlette

from api.app import create_app
from api.auth import Authenticator
from api.openapi import document
from tests.api.fakes import LIVE_KEY, NOW, FakeEngine, ManualClock

DOCUMENT = document()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def app(engine: FakeEngine, clock: ManualClock) -> Starlette:
    return create_app(engine, authenticator=Authenticator(engine, now=lambda: NOW, monotonic_s=clock))


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://trunkline",
        headers={"Authorization": f"Bearer {LIVE_KEY}"},
        event_hooks={"response": [assert_as_documented]},
    ) as client:
        yield client


async def assert_as_documented(response: httpx.Response) -> None:
    await response.aread()
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    content_type = response.headers["content-type"].partition(";")[0]
    described = _description(response)
    if described is None:
        assert response.status_code in (404, 405)
        assert content_type == "application/problem+json"
        return
    for name, header in described.get("headers", {}).items():
        assert name in response.headers or not header["required"]
    schema = described["content"][content_type].get("schema")
    if schema and response.request.method != "HEAD":
        OAS31Validator({**schema, "components": DOCUMENT["components"]}).validate(response.json())
    if content_type == "application/problem+json":
        assert response.json()["status"] == response.status_code


def _description(response: httpx.Response) -> dict[str, Any] | None:
    request = response.request
    parts = request.url.path.split("/")
    path = "/".join([*parts[:3], "{id}", *parts[4:]]) if parts[1:2] == ["api"] and parts[3:] else request.url.path
    method = {"HEAD": "get"}.get(request.method, request.method.lower())
    operation = DOCUMENT["paths"].get(path, {}).get(method)
    described: dict[str, Any] | None = operation and operation["responses"][str(response.status_code)]
    return described
