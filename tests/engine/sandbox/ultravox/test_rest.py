from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from engine.sandbox.ultravox import CallKnobs, CreateReply, Knobs, SimulatedUltravox
from engine.sandbox.ultravox.rest import create_app

KEY = "right-key"
BODY = {"medium": {"serverWebSocket": {"inputSampleRate": 8000}}}


class Service:
    """The app without sockets."""

    def __init__(self, http: httpx.AsyncClient, simulator: SimulatedUltravox) -> None:
        self.http = http
        self.simulator = simulator

    async def create(self, **fields: Any) -> httpx.Response:
        return await self.http.post("/api/calls", json={**BODY, **fields})


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with SimulatedUltravox(api_key=KEY) as simulator:
        transport = httpx.ASGITransport(create_app(simulator.account))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://simulator", headers={"X-API-Key": KEY}
        ) as http:
            yield Service(http, simulator)


async def test_created_call_can_be_read_and_listed(service: Service) -> None:
    created = await service.create(metadata={"our.callId": "c-17"})
    assert created.status_code == 201
    call_id = created.json()["callId"]
    assert created.json()["joinUrl"].endswith(f"/calls/{call_id}/server_web_socket")
    assert (await service.http.get(f"/api/calls/{call_id}")).json()["metadata"] == {"our.callId": "c-17"}
    assert (await service.http.get("/api/calls")).json()["total"] == 1
    assert (await service.http.get(f"/api/calls/{call_id}/messages")).json()["results"] == []


@pytest.mark.parametrize("headers", [{"X-API-Key": "wrong"}, {"X-API-Key": ""}])
async def test_wrong_key_is_401(service: Service, headers: dict[str, str]) -> None:
    response = await service.http.post("/api/calls", json=BODY, headers=headers)
    assert response.status_code == 401
    assert "detail" in response.json()


async def test_wrong_request_is_400_by_field(service: Service) -> None:
    response = await service.create(maxDuration="1m")
    assert response.status_code == 400
    assert list(response.json()) == ["maxDuration"]


@pytest.mark.parametrize("body", [b"{", b"", b"\xff"])
async def test_what_is_no_json_is_400(service: Service, body: bytes) -> None:
    assert (await service.http.post("/api/calls", content=body)).status_code == 400


async def test_initial_messages_beside_a_prior_call_are_400(service: Service) -> None:
    body = {**BODY, "initialMessages": [{"role": "MESSAGE_ROLE_USER", "text": "x"}]}
    response = await service.http.post("/api/calls?priorCallId=x", json=body)
    assert response.status_code == 400


async def test_unknown_call_is_404(service: Service) -> None:
    for method, path in [("GET", "/api/calls/x"), ("DELETE", "/api/calls/x"), ("GET", "/api/calls/x/messages")]:
        assert (await service.http.request(method, path)).status_code == 404


async def test_live_call_cannot_be_deleted_an_ended_one_can_once(service: Service) -> None:
    path = f"/api/calls/{(await service.create(joinTimeout='0.05s')).json()['callId']}"
    (call,) = service.simulator.account.calls.values()
    assert (await service.http.delete(path)).status_code == 425
    await service.simulator.until(lambda: call.ended is not None)
    assert [(await service.http.delete(path)).status_code for _ in range(2)] == [204, 404]
    assert call.faults.counts == {"deleted-live-call": 1}


async def test_next_creates_are_answered_as_the_knobs_say(service: Service) -> None:
    creates = [{"status": 503, "retryAfter": "7"}, {"status": 402}, {"joinUrl": False}, {"body": "garbage"}]
    assert (await service.http.post("/simulator/knobs", json={"creates": creates})).status_code == 200
    busy, unpaid, unjoinable, garbage, good = [await service.create() for _ in range(5)]
    assert (busy.status_code, busy.headers["Retry-After"], unpaid.status_code) == (503, "7", 402)
    assert (unjoinable.status_code, unjoinable.json()["joinUrl"]) == (201, None)
    assert (garbage.status_code, garbage.text) == (201, "garbage")
    assert good.json()["joinUrl"]
    assert service.simulator.account.faults.counts == {"ignored-retry-after": 4}


async def test_call_beyond_the_plan_is_429(service: Service) -> None:
    service.simulator.account.knobs = Knobs(
        max_calls=1, creates=(CreateReply(delay_s=0.01),), call=CallKnobs(quiet=True)
    )
    first, second = await service.create(), await service.create()
    assert (first.status_code, second.status_code) == (201, 429)
    assert second.headers["Retry-After"] == "1"


async def test_wrong_knobs_are_400_and_change_nothing(service: Service) -> None:
    assert (await service.http.post("/simulator/knobs", json={"nonsense": 1})).status_code == 400
    assert (await service.http.get("/simulator/knobs")).json()["maxCalls"] is None


async def test_verdict_is_readable_without_a_key(service: Service) -> None:
    call_id = (await service.create()).json()["callId"]
    service.http.headers.pop("X-API-Key")
    assert (await service.http.get(f"/simulator/calls/{call_id}")).json()["faults"] == []
    assert len((await service.http.get("/simulator/calls")).json()["calls"]) == 1
    assert (await service.http.get(f"/simulator/calls/{call_id}/audio")).status_code == 404
