from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from api.load.caller import Caller


class Server:
    """Takes calls, counts those up, refuses more than ``limit``."""

    def __init__(self, limit: int = 1000) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.up: set[str] = set()
        self.most = 0
        self._limit = limit

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        call_id = request.url.path.rpartition("/")[2]
        if request.method == "POST":
            if len(self.up) >= self._limit:
                return httpx.Response(503, json={"detail": "All lines are in use."})
            self.bodies.append(json.loads(request.content))
            call_id = f"call{len(self.bodies)}"
            self.up.add(call_id)
            self.most = max(self.most, len(self.up))
            return httpx.Response(200, json={"id": call_id, "callId": f"CA{call_id}", "status": "initiated"})
        if request.method == "DELETE":
            self.up.discard(call_id)
            return httpx.Response(200, json={"ended": True})
        return httpx.Response(200, json={"status": "completed", "ended": {"cause": "caller-hangup"}})


async def load(server: Server, seconds: float, **settings: Any) -> Caller:
    async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url="http://engine") as http:
        caller = Caller(http, **{"plain": False, **settings})
        async with asyncio.timeout(30):
            await caller.run(seconds)
            await caller.final_records()
    return caller


async def test_no_more_calls_are_up_than_asked_for_and_each_is_hung_up() -> None:
    server = Server()
    caller = await load(server, 0.5, calls=3, cps=100, call_s=0.1)
    assert server.most == 3
    assert server.up == set()
    assert len(caller.placed) > 3
    assert caller.outcomes() == {"completed: caller-hangup": len(caller.placed)}
    assert len(caller.late_ms) == len(caller.placed)


async def test_calls_are_placed_no_faster_than_asked_for() -> None:
    caller = await load(Server(), 0.5, calls=100, cps=20, call_s=0.1)
    assert len(caller.placed) <= 11


async def test_calls_that_outlast_the_run_are_ended_after_it() -> None:
    server = Server()
    await load(server, 0.2, calls=2, cps=100, call_s=60)
    assert (len(server.bodies), server.up) == (2, set())


async def test_call_is_known_by_its_number_to_the_agent_and_a_plain_one_has_none() -> None:
    server = Server()
    await load(server, 0.1, calls=2, cps=100, call_s=60)
    await load(server, 0.1, calls=1, cps=100, call_s=60, plain=True)
    assert [body["metadata"] for body in server.bodies] == [{"load": "0"}, {"load": "1"}, {"load": "0"}]
    assert ["systemPrompt" in body for body in server.bodies] == [True, True, False]
    assert len({body["to"] for body in server.bodies}) == 2


async def test_refusal_is_an_outcome_with_its_reason() -> None:
    caller = await load(Server(limit=1), 0.1, calls=2, cps=100, call_s=60)
    assert caller.outcomes()["completed: caller-hangup"] == 1
    assert caller.outcomes()["refused: HTTP 503"] >= 1
    assert "All lines are in use." in {call.problem for call in caller.placed}


async def test_server_that_is_gone_is_an_outcome_too() -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(gone), base_url="http://engine") as http:
        caller = Caller(http, calls=1, cps=10, call_s=1, plain=True)
        await caller.run(0.05)
        await caller.final_records()
    assert caller.outcomes() == {"no answer to the POST": 1}
