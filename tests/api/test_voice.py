from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from engine.errors import CallerNotAllowed
from engine.outcome import Cause, Outcome, Party
from engine.records import (
    AgentSettings,
    AiRecord,
    CallRecord,
    CallRequest,
    Environment,
    Speaker,
    Status,
    TranscriptTurn,
)
from tests.api.fakes import TEST_KEY, FakeEngine, a_call

BODY = {"from": "+14155559876", "to": "+14155551234"}
AS_TESTER = {"Authorization": f"Bearer {TEST_KEY}"}
HANGUP = Outcome(by=Party.CALLEE, cause=Cause.CALLEE_HANGUP, detail="The callee hung up.")


@pytest.fixture
def call(engine: FakeEngine) -> CallRecord:
    call = a_call(status=Status.RINGING)
    engine.calls[call.id] = call
    return call


async def test_accepted_call_answers_its_ids_and_initiated(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    response = await client.post("/api/voice", json={**BODY, "metadata": {"order": "7"}})
    [placed] = engine.calls.values()
    assert response.status_code == 200
    assert response.json() == {"id": placed.id, "callId": placed.sip_call_id, "status": "initiated"}
    assert placed.environment is Environment.LIVE
    shown = (await client.get(f"/api/voice/{placed.id}")).json()
    assert shown["metadata"] == {"order": "7"}
    assert "ai" not in shown


async def test_refused_body_places_no_call(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    response = await client.post("/api/voice", json={**BODY, "systemprompt": "Sell."})
    assert response.status_code == 422
    assert response.json() == {
        "type": "https://trunkline.dev/errors/validation-error",
        "title": "Validation error",
        "status": 422,
        "detail": "No call was placed: the request has a mistake, see errors.",
        "errors": [{"field": "systemprompt", "message": "Unknown field; did you mean systemPrompt?"}],
    }
    assert not engine.calls


async def test_caller_that_no_trunk_allows_gets_422_with_the_allowed_numbers(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.refusal = CallerNotAllowed(("+4930*", "+14155550100"))
    response = await client.post("/api/voice", json=BODY)
    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"field": "from", "message": "Expected a number that a trunk allows calls from: +14155550100, +4930*."}
    ]


async def test_call_does_not_exist_for_a_key_of_the_other_environment(
    client: httpx.AsyncClient, engine: FakeEngine, call: CallRecord
) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        response = await client.request(method, f"/api/voice/{call.id}{path}", headers=AS_TESTER)
        assert response.status_code == 404
    assert not engine.hung_up
    await client.post("/api/voice", json=BODY, headers=AS_TESTER)
    assert [placed.environment for placed in engine.calls.values()] == [Environment.LIVE, Environment.TEST]


@pytest.mark.parametrize("call_id", ["x", "%00", "a" * 3000, "00000000-0000-4000-8000-000000000000", "CA" + "0" * 32])
async def test_unknown_call_answers_404(client: httpx.AsyncClient, call_id: str) -> None:
    for method in ("GET", "DELETE"):
        response = await client.request(method, f"/api/voice/{call_id}")
        assert response.status_code == 404
        assert response.json()["type"].endswith("/not-found")
        assert len(response.content) < 500


@pytest.mark.parametrize("status", [Status.RINGING, Status.COMPLETED])
async def test_hanging_up_answers_ended_also_for_a_call_that_is_over(
    client: httpx.AsyncClient, engine: FakeEngine, status: Status
) -> None:
    call = a_call(status=status)
    engine.calls[call.id] = call
    for _ in range(2):
        response = await client.delete(f"/api/voice/{call.id}")
        assert (response.status_code, response.json()) == (200, {"ended": True})
    assert engine.hung_up == [call.id, call.id]


async def test_same_idempotency_key_and_body_answers_the_first_answer(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    headers = {"Idempotency-Key": "order-7"}
    first = await client.post("/api/voice", json=BODY, headers=headers)
    [placed] = engine.calls.values()
    engine.calls[placed.id] = replace(placed, status=Status.COMPLETED)
    again = await client.post("/api/voice", json=dict(reversed(BODY.items())), headers=headers)
    assert (again.status_code, again.json()) == (200, first.json())
    other = await client.post("/api/voice", json=BODY, headers={**headers, **AS_TESTER})
    assert other.json()["id"] != first.json()["id"]


async def test_same_idempotency_key_with_another_body_answers_409(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "order-7"}
    await client.post("/api/voice", json=BODY, headers=headers)
    response = await client.post("/api/voice", json={**BODY, "to": "+14155550000"}, headers=headers)
    assert response.status_code == 409
    assert response.json()["type"].endswith("/conflict")


@pytest.mark.parametrize("value", [b"", b" ", b"a b", b"x" * 256, "é".encode(), b"a\tb"])
async def test_idempotency_key_that_is_not_visible_ascii_answers_400(
    client: httpx.AsyncClient, engine: FakeEngine, value: bytes
) -> None:
    response = await client.post("/api/voice", json=BODY, headers=[(b"Idempotency-Key", value)])
    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == ["Idempotency-Key"]
    assert not engine.calls


async def test_two_idempotency_keys_answer_400(client: httpx.AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await client.post("/api/voice", json=BODY, headers=headers)).status_code == 400


def events_of(text: str) -> list[tuple[str, dict[str, object]]]:
    blocks = [block.split("\n") for block in text.split("\n\n") if block and not block.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


async def test_events_carry_each_status_and_turn_once_and_end_with_the_final_status(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    request = CallRequest(
        from_number="+14155559876", to_number="+14155551234", agent=AgentSettings(system_prompt="Be kind.")
    )
    call = a_call(request)
    engine.calls[call.id] = call
    reading = asyncio.create_task(client.get(f"/api/voice/{call.id}/events"))
    await engine.watched.wait()
    hello = TranscriptTurn(ordinal=0, speaker=Speaker.AGENT, text="Hello")
    heard = replace(hello, text="Hell", truncated=True)
    answered = replace(call, status=Status.ANSWERED, ai=AiRecord())
    said = replace(answered, ai=AiRecord(transcript=(hello,)))
    cut = replace(answered, ai=AiRecord(transcript=(heard,)))
    for change in (answered, answered, said, cut, replace(cut, status=Status.COMPLETED, outcome=HANGUP)):
        engine.publish(change)
    response = await reading
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = events_of(response.text)
    assert [(name, data.get("status") or data["text"]) for name, data in events] == [
        ("status", "initiated"),
        ("status", "answered"),
        ("transcript", "Hello"),
        ("transcript", "Hell"),
        ("status", "completed"),
    ]
    assert events[-1][1] == (await client.get(f"/api/voice/{call.id}")).json()
    assert not engine.watchers


@pytest.mark.parametrize("change", ["revoked_at", "expires_at"])
async def test_events_end_when_their_key_is_revoked_or_expires(
    client: httpx.AsyncClient, engine: FakeEngine, change: str
) -> None:
    call = a_call()
    engine.calls[call.id] = call
    reading = asyncio.create_task(client.get(f"/api/voice/{call.id}/events"))
    await engine.watched.wait()
    ended: dict[str, Any] = {change: datetime.now(UTC)}
    engine.api_keys[:] = [replace(key, **ended) for key in engine.api_keys]
    engine.publish(replace(call, status=Status.RINGING))
    response = await asyncio.wait_for(reading, 10)
    assert [data["status"] for _, data in events_of(response.text)] == ["initiated"]
    assert not engine.watchers


async def test_events_of_a_call_that_is_over_are_its_final_status_alone(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    call = a_call(status=Status.FAILED, outcome=HANGUP)
    engine.calls[call.id] = call
    response = await client.get(f"/api/voice/{call.id}/events")
    assert [name for name, _ in events_of(response.text)] == ["status"]


async def test_head_of_events_ends_at_once(client: httpx.AsyncClient, engine: FakeEngine, call: CallRecord) -> None:
    response = await client.head(f"/api/voice/{call.id}/events")
    assert (response.status_code, response.text) == (200, "")
    assert not engine.watchers


async def test_transcript_of_a_call_that_is_over_can_be_deleted(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    request = CallRequest(from_number="+1415", to_number="+1416", agent=AgentSettings(system_prompt="Hi"))
    live = a_call(request)
    engine.calls[live.id] = live
    refused = await client.delete(f"/api/voice/{live.id}/transcript")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "conflict")
    said = AiRecord(transcript=(TranscriptTurn(ordinal=0, speaker=Speaker.AGENT, text="Hello"),))
    engine.publish(replace(live, status=Status.COMPLETED, ai=said))
    for _ in range(2):
        deleted = await client.delete(f"/api/voice/{live.id}/transcript")
        assert (deleted.status_code, deleted.json()) == (200, {"deleted": True})
    assert (await client.get(f"/api/voice/{live.id}")).json()["ai"]["transcript"] == ""
    unknown = await client.delete("/api/voice/00000000-0000-0000-0000-000000000000/transcript")
    assert unknown.status_code == 404
