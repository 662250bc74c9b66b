"""The simulated service as a whole, as its users have it."""

from __future__ import annotations

import asyncio
import json

import httpx
from websockets.asyncio.client import connect

from engine.sandbox.callee import Callee
from engine.sandbox.dialogue import Dialogue
from engine.sandbox.speech import speech
from engine.sandbox.ultravox import CallKnobs, Knobs, SimulatedUltravox

RATE_HZ = 8000
DIALOGUE = Dialogue(agent=("Hi.", "Bye."), callee=("Yes.",))
BODY = {
    "medium": {"serverWebSocket": {"inputSampleRate": RATE_HZ, "clientBufferSizeMs": 60}},
    "selectedTools": [{"toolName": "hangUp"}],
}


async def _create(simulator: SimulatedUltravox) -> str:
    async with httpx.AsyncClient(base_url=simulator.base_url, headers={"X-API-Key": "k"}) as http:
        return str((await http.post("/api/calls", json=BODY)).json()["joinUrl"])


async def test_agent_and_callee_talk_to_the_end_of_their_dialogue() -> None:
    knobs = Knobs(call=CallKnobs(greeting_delay_s=0.0, thinking_s=0.0))
    callee = Callee(RATE_HZ, [speech(line, RATE_HZ, "callee") for line in DIALOGUE.callee])
    heard, finals = bytearray(), []
    async with SimulatedUltravox(dialogue=DIALOGUE, knobs=knobs) as simulator:
        async with connect(await _create(simulator)) as client:

            async def talk() -> None:
                loop = asyncio.get_running_loop()
                started = loop.time()
                for tick in range(1000):
                    frame = bytes(heard[:320])
                    del heard[:320]
                    await client.send(callee.frame(frame + bytes(320 - len(frame))))
                    await asyncio.sleep(max(0.0, started + tick * 0.02 - loop.time()))

            talking = asyncio.create_task(talk())
            async for message in client:
                if isinstance(message, bytes):
                    heard += message
                elif '"final": true' in message:
                    finals.append(json.loads(message)["text"])
            talking.cancel()
        (call,) = simulator.account.calls.values()
        await simulator.until(lambda: call.ended is not None)
    assert finals == ["Hi.", "Yes.", "Bye."]
    assert client.close_code == 1000
    assert call.end_reason == "agent_hangup"
    assert [message["text"] for message in call.messages()] == finals


async def test_closing_the_service_closes_its_sockets() -> None:
    async with SimulatedUltravox() as simulator:
        client = await connect(await _create(simulator))
    await client.wait_closed()
    assert client.close_code == 1001


async def test_services_do_not_share_anything() -> None:
    async with SimulatedUltravox() as one, SimulatedUltravox() as other:
        await _create(one)
        assert (len(one.account.calls), len(other.account.calls)) == (1, 0)
        assert one.base_url != other.base_url
        assert (one.account.live_calls, other.account.live_calls) == (1, 0)


async def test_client_version_of_the_join_url_is_shown() -> None:
    async with SimulatedUltravox() as simulator:
        client = await connect(f"{await _create(simulator)}?apiVersion=1&clientVersion=trunkline_1")
        (call,) = simulator.account.calls.values()
        assert call.render(0.0)["clientVersion"] == "trunkline_1"
        await client.close()
