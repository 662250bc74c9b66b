from __future__ import annotations

import httpx
import pytest

from api.call_views import show_call
from engine.records import CallChange, Environment
from engine.webhooks.subscriptions import MAX_WEBHOOKS
from tests.api.fakes import LIVE_KEY, NOW, READING_KEY, TEST_KEY, FakeEngine, a_call

PATH = "/api/webhooks"
BODY = {"url": "https://example.com/hook?token=1", "events": ["voice.*"]}


async def created(client: httpx.AsyncClient) -> dict[str, str]:
    response = await client.post(PATH, json=BODY)
    assert response.status_code == 200
    webhook: dict[str, str] = response.json()
    return webhook


async def test_secret_is_shown_when_a_webhook_is_made_and_never_again(client: httpx.AsyncClient) -> None:
    webhook = await created(client)
    assert {"url": webhook["url"], "events": webhook["events"]} == BODY
    assert webhook["secret"].startswith("whsec_")
    response = await client.get(PATH)
    assert webhook["secret"] not in response.text
    [listed] = response.json()["webhooks"]
    assert {**listed, "createdAt": ""} == {"id": webhook["id"], **BODY, "createdAt": ""}


async def test_deleted_webhook_is_unknown(client: httpx.AsyncClient) -> None:
    path = f"{PATH}/{(await created(client))['id']}"
    assert (await client.delete(path)).json() == {"deleted": True}
    assert (await client.get(PATH)).json() == {"webhooks": []}
    for response in (await client.delete(path), await client.get(f"{path}/logs")):
        assert response.status_code == 404


async def test_other_environments_webhooks_are_unknown(client: httpx.AsyncClient) -> None:
    path = f"{PATH}/{(await created(client))['id']}"
    client.headers["Authorization"] = f"Bearer {TEST_KEY}"
    assert (await client.get(PATH)).json() == {"webhooks": []}
    for response in (await client.delete(path), await client.get(f"{path}/logs")):
        assert response.status_code == 404
    client.headers["Authorization"] = f"Bearer {LIVE_KEY}"
    assert (await client.delete(path)).status_code == 200


async def test_key_without_the_scope_manages_no_webhooks(client: httpx.AsyncClient) -> None:
    client.headers["Authorization"] = f"Bearer {READING_KEY}"
    for response in (
        await client.post(PATH, json=BODY),
        await client.get(PATH),
        await client.delete(f"{PATH}/whk_{'0' * 32}"),
        await client.get(f"{PATH}/whk_{'0' * 32}/logs"),
    ):
        assert response.status_code == 403
        assert "webhooks:manage" in response.json()["detail"]


async def test_log_shows_deliveries_the_newest_first_and_as_many_as_asked_for(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    path = f"{PATH}/{(await created(client))['id']}/logs"
    call = a_call()
    await engine.store.add(call, None, CallChange(call_id=call.id, kind="voice.initiated", at=NOW))
    await engine.store.save(call, CallChange(call_id=call.id, kind="voice.failed", at=NOW))
    deliveries = (await client.get(path)).json()["deliveries"]
    assert [delivery["eventType"] for delivery in deliveries] == ["voice.failed", "voice.initiated"]
    assert set(deliveries[0]) == {"id", "eventType", "status", "attempts", "responseCode", "createdAt"}
    assert [deliveries[0][name] for name in ("status", "attempts", "responseCode")] == ["pending", 0, None]
    assert (await client.get(path, params={"limit": 1})).json()["deliveries"] == deliveries[:1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=", "limit=-1", "limit=1&limit=2"])
async def test_invalid_limit_is_refused(client: httpx.AsyncClient, query: str) -> None:
    response = await client.get(f"{PATH}/{(await created(client))['id']}/logs?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "limit"


async def test_unknown_parameters_of_the_log_are_ignored(client: httpx.AsyncClient) -> None:
    response = await client.get(f"{PATH}/{(await created(client))['id']}/logs?x=1&x=2")
    assert response.json() == {"deliveries": []}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": None}, "url"),
        ({"url": "example.com"}, "url"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": "https://user@example.com/"}, "url"),
        ({"url": "https://example.com/#part"}, "url"),
        ({"url": "https://example.com/\r\nX: y"}, "url"),
        ({"url": "https://example.com/" + "x" * 2048}, "url"),
        ({"events": []}, "events"),
        ({"events": "voice.*"}, "events"),
        ({"events": ["voice.*", "voice.hangup"]}, "events[1]"),
        ({"events": ["[a-z]*"]}, "events[0]"),
        ({"events": ["voice.*"] * 17}, "events"),
        ({"secret": "mine"}, "secret"),
    ],
)
async def test_mistakes_are_named(client: httpx.AsyncClient, changes: dict[str, object], field: str) -> None:
    response = await client.post(PATH, json={**BODY, **changes})
    assert response.status_code == 422
    assert [mistake["field"] for mistake in response.json()["errors"]] == [field]
    assert (await client.get(PATH)).json() == {"webhooks": []}


async def test_webhooks_beyond_the_limit_are_a_conflict(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    for _ in range(MAX_WEBHOOKS):
        await engine.webhooks.add("https://example.com/", ["voice.*"], Environment.LIVE)
    response = await client.post(PATH, json=BODY)
    assert response.status_code == 409
    assert str(MAX_WEBHOOKS) in response.json()["detail"]


async def test_event_shows_a_call_as_get_does(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    call = a_call()
    engine.calls[call.id] = call
    assert show_call(call) == (await client.get(f"/api/voice/{call.id}")).json()
