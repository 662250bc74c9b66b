"""The service's sockets, joined by a real client on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from engine.sandbox.ultravox import CallKnobs, Conversation, Knobs, Mischief, SimulatedUltravox
from engine.sandbox.ultravox.knobs import Deed

DEEDS: tuple[Deed, ...] = ("empty", "text", "byte")
MEDIUM = {"serverWebSocket": {"inputSampleRate": 8000, "clientBufferSizeMs": 30000}}


class Service:
    def __init__(self, simulator: SimulatedUltravox) -> None:
        self.simulator = simulator

    async def create(self, knobs: CallKnobs | None = None, **fields: Any) -> str:
        """Create a call over HTTP; its join URL."""
        self.simulator.account.knobs = Knobs(call=knobs or CallKnobs(quiet=True))
        async with httpx.AsyncClient(base_url=self.simulator.base_url, headers={"X-API-Key": "k"}) as http:
            response = await http.post("/api/calls", json={"medium": MEDIUM, **fields})
        return str(response.raise_for_status().json()["joinUrl"])

    async def join(self, knobs: CallKnobs | None = None, **fields: Any) -> tuple[ClientConnection, Conversation]:
        client = await connect(await self.create(knobs, **fields), ping_interval=None, close_timeout=0.5)
        return client, self.simulator.account.conversations[-1]

    async def ended(self, conversation: Conversation) -> str | None:
        await self.simulator.until(lambda: conversation.end_reason is not None)
        return conversation.end_reason


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with SimulatedUltravox(capture_s=10.0) as simulator:
        yield Service(simulator)


async def _last_messages(client: ClientConnection) -> tuple[list[str | bytes], ConnectionClosed]:
    """Everything until the server ends the connection, and how it did."""
    messages: list[str | bytes] = []
    try:
        while True:
            messages.append(await client.recv())
    except ConnectionClosed as closed:
        return messages, closed


async def test_first_message_after_the_join_is_call_started(service: Service) -> None:
    client, conversation = await service.join()
    assert json.loads(await client.recv()) == {"type": "call_started", "callId": conversation.call_id}
    await client.close()
    assert await service.ended(conversation) == "hangup"


async def test_audio_arrives_whole_in_any_fragments(service: Service) -> None:
    client, conversation = await service.join()
    await client.send(b"\1\2" * 160)
    await client.send([b"\3", b"\4\5", b"\6"])
    await service.simulator.until(lambda: conversation.audio.messages == 2)
    assert conversation.audio.captured == b"\1\2" * 160 + b"\3\4\5\6"
    await client.close()


async def test_second_client_is_refused_and_the_first_stays(service: Service) -> None:
    client, conversation = await service.join()
    url = service.simulator.account.calls[conversation.call_id].join_url
    with pytest.raises(InvalidStatus) as refused:
        await connect(url)
    assert refused.value.response.status_code == 409
    assert service.simulator.account.calls[conversation.call_id].faults.counts == {"second-join": 1}
    await client.send(json.dumps({"type": "ping", "timestamp": 1}))
    assert "pong" in str([await client.recv() for _ in range(3)])
    await client.close()


async def test_second_client_may_be_refused_by_close_code(service: Service) -> None:
    client, conversation = await service.join(CallKnobs(quiet=True, second_join_closes=True))
    second = await connect(service.simulator.account.calls[conversation.call_id].join_url)
    _, closed = await _last_messages(second)
    assert closed.rcvd is not None
    assert closed.rcvd.code == 4409
    await client.close()


async def test_unknown_call_is_closed_with_4404(service: Service) -> None:
    client = await connect(f"{service.simulator.base_url.replace('http', 'ws')}/calls/nonsense/server_web_socket")
    _, closed = await _last_messages(client)
    assert closed.rcvd is not None
    assert closed.rcvd.code == 4404


async def test_call_whose_join_timeout_passed_is_gone(service: Service) -> None:
    url = await service.create(joinTimeout="0.05s")
    (call,) = service.simulator.account.calls.values()
    await service.simulator.until(lambda: call.end_reason == "unjoined")
    with pytest.raises(InvalidStatus) as refused:
        await connect(url)
    assert refused.value.response.status_code == 410


async def test_agent_hang_up_closes_with_1000(service: Service) -> None:
    client, conversation = await service.join()
    conversation.agent.hang_up()
    _, closed = await _last_messages(client)
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1000
    assert await service.ended(conversation) == "agent_hangup"


async def test_lost_client_is_a_connection_error(service: Service) -> None:
    client, conversation = await service.join()
    client.transport.abort()
    assert await service.ended(conversation) == "connection_error"


async def test_cut_knob_loses_the_connection_without_a_close(service: Service) -> None:
    client, _ = await service.join(CallKnobs(quiet=True, mischief=(Mischief(after_s=0.05, do="cut"),)))
    _, closed = await _last_messages(client)
    assert closed.rcvd is None


async def test_close_knob_closes_with_its_code(service: Service) -> None:
    deed = Mischief(after_s=0.05, do="close", code=4598)
    client, conversation = await service.join(CallKnobs(quiet=True, mischief=(deed,)))
    _, closed = await _last_messages(client)
    assert closed.rcvd is not None
    assert closed.rcvd.code == 4598
    assert await service.ended(conversation) == "system_error"


async def test_client_close_may_stay_without_an_answer(service: Service) -> None:
    client, conversation = await service.join(CallKnobs(quiet=True, echo_close=False))
    await client.close()
    assert client.protocol.close_rcvd is None
    assert await service.ended(conversation) == "hangup"


async def test_empty_half_and_garbled_messages_reach_the_client(service: Service) -> None:
    deeds = tuple(Mischief(after_s=0.05, do=do, text="{") for do in DEEDS)
    client, _ = await service.join(CallKnobs(quiet=True, mischief=deeds))
    messages = [await client.recv() for _ in range(5)]
    assert messages[2:] == [b"", "{", b"\0"]
    await client.close()


async def test_oversize_message_ends_the_connection(service: Service) -> None:
    client, conversation = await service.join()
    await client.send(bytes(2_000_000))
    _, closed = await _last_messages(client)
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1009
    assert await service.ended(conversation) is not None
