from __future__ import annotations

import logging

import httpx
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from api.boundary import Boundary
from tests.api.fakes import FakeEngine, a_call

SCOPE: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}


async def nothing() -> Message:
    return {"type": "http.disconnect"}


async def test_unforeseen_error_answers_500_without_a_trace_of_it_and_is_logged(
    client: httpx.AsyncClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.refusal = ZeroDivisionError("secret words")
    response = await client.get(f"/api/voice/{a_call().id}")
    assert response.status_code == 500
    assert response.json()["type"].endswith("/internal-error")
    assert "secret words" not in response.text
    assert "Traceback" not in response.text
    assert "secret words" in caplog.text


async def test_error_after_the_answer_began_cuts_the_connection() -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(ZeroDivisionError):
        await Boundary(app)(SCOPE, nothing, send)
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_client_that_leaves_in_the_middle_of_its_request_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trunkline.api")

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        raise ClientDisconnect

    async def send(_: Message) -> None:
        raise AssertionError("nobody is there to answer")

    await Boundary(app)(SCOPE, nothing, send)
    assert not caplog.records


async def test_what_is_not_http_passes_untouched() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope)

    async def send(_: Message) -> None: ...

    await Boundary(app)({"type": "lifespan"}, nothing, send)
    assert seen == [{"type": "lifespan"}]
