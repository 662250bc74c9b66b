from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from engine.records import (
    AgentSettings,
    AiRecord,
    CallChange,
    CallRecord,
    CallRequest,
    Environment,
    Speaker,
    Status,
    TranscriptTurn,
)
from tests.api.fakes import NOW, TEST_KEY, FakeEngine, a_call

PATH = "/api/voice"


async def kept(engine: FakeEngine, count: int, *, after_s: int = 0, **changes: Any) -> list[CallRecord]:
    """The newest first."""
    calls = [a_call(created_at=NOW + timedelta(seconds=after_s + number), **changes) for number in range(count)]
    for call in calls:
        await engine.store.add(call, None, CallChange(call_id=call.id, kind="voice.initiated", at=NOW))
    return calls[::-1]


async def listed(client: httpx.AsyncClient, **query: object) -> tuple[list[str], str | None]:
    response = await client.get(PATH, params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    return [call["id"] for call in response.json()["calls"]], response.json().get("nextCursor")


async def test_cursor_leads_through_every_call_once_though_new_ones_come_meanwhile(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    calls = await kept(engine, 5)
    first, cursor = await listed(client, pageSize=2)
    await kept(engine, 1, after_s=60)
    second, cursor = await listed(client, pageSize=2, cursor=cursor)
    third, end = await listed(client, pageSize=2, cursor=cursor)
    assert [*first, *second, *third] == [call.id for call in calls]
    assert end is None


async def test_page_that_is_just_full_names_no_next_one(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await kept(engine, 2)
    assert (await listed(client, pageSize=2))[1] is None


async def test_filters_are_handed_on(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    [ringing] = await kept(engine, 1, status=Status.RINGING)
    request = CallRequest(from_number="+14155550001", to_number="+14155550002")
    [other] = await kept(engine, 1, request=request)
    moment = NOW.isoformat()
    for query, found in (
        ({"status": "ringing"}, [ringing.id]),
        ({"from": "+14155550001"}, [other.id]),
        ({"to": "+14155550002", "createdAfter": moment}, [other.id]),
        ({"to": "+14155550003"}, []),
        ({"createdBefore": moment}, []),
    ):
        assert await listed(client, **query) == (found, None)


async def test_other_environments_calls_are_not_listed(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await kept(engine, 1)
    [tested] = await kept(engine, 1, environment=Environment.TEST)
    client.headers["Authorization"] = f"Bearer {TEST_KEY}"
    assert await listed(client) == ([tested.id], None)


async def test_listed_call_is_as_get_shows_it_but_for_what_was_said(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    agent = AgentSettings(system_prompt="Be kind.")
    request = CallRequest(from_number="+14155559876", to_number="+14155551234", agent=agent)
    said = AiRecord(transcript=(TranscriptTurn(ordinal=0, speaker=Speaker.USER, text="my secret"),))
    [call] = await kept(engine, 1, request=request, ai=said, status=Status.COMPLETED, ended_at=NOW)
    engine.calls[call.id] = call
    shown = (await client.get(f"{PATH}/{call.id}")).json()
    response = await client.get(PATH)
    del shown["ai"]["transcript"], shown["ai"]["turns"]
    assert response.json() == {"calls": [shown]}


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("status=over", "status", "Expected one of initiated, ringing, answered, completed, failed."),
        ("status=", "status", "Expected one of initiated, ringing, answered, completed, failed."),
        ("from=+14155559876", "from", "Expected the caller's number in E.164, with + written as %2B (%2B14155559876)."),
        ("to=14155551234", "to",
         "Expected the called number in E.164, with + written as %2B (%2B14155551234)."),
        ("createdAfter=2030-01-31", "createdAfter",
         "Expected a time with its zone, such as 2030-01-31T00:00:00Z, for calls created then or later."),
        ("createdBefore=2030-01-31T00:00:00", "createdBefore",
         "Expected a time with its zone, such as 2030-01-31T00:00:00Z, for calls created before then."),
        ("createdBefore=1767225600", "createdBefore",
         "Expected a time with its zone, such as 2030-01-31T00:00:00Z, for calls created before then."),
        ("pageSize=0", "pageSize", "Expected a whole number from 1 to 100."),
        ("pageSize=101", "pageSize", "Expected a whole number from 1 to 100."),
        ("pageSize=1e1", "pageSize", "Expected a whole number from 1 to 100."),
        ("pageSize=%D9%A3", "pageSize", "Expected a whole number from 1 to 100."),
        ("cursor=", "cursor", "Expected the nextCursor of the previous page, with the same filters."),
        ("cursor=MjAyNg", "cursor", "Expected the nextCursor of the previous page, with the same filters."),
        ("cursor=%FF", "cursor", "Expected the nextCursor of the previous page, with the same filters."),
        ("limit=1", "limit", "Unknown field; known: status, from, to, createdAfter, createdBefore, pageSize, cursor."),
        ("created_after=x", "created_after", "Unknown field; did you mean createdAfter?"),
        ("pageSize=1&pageSize=2", "pageSize", "Expected once."),
    ],
)  # fmt: skip
async def test_mistake_in_the_query_is_reported_with_what_was_expected(
    client: httpx.AsyncClient, query: str, field: str, message: str
) -> None:
    response = await client.get(f"{PATH}?{query}")
    assert response.status_code == 422
    assert response.json()["errors"] == [{"field": field, "message": message}]
