from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.fakes import LIVE_KEY, FakeEngine, api_key

ROOT = "tk_live_" + "g" * 43
SANDBOX_ROOT = "tk_test_" + "h" * 43
SMALL = "tk_live_" + "i" * 43
ENDS = datetime(2999, 12, 31, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _managers(engine: FakeEngine, client: httpx.AsyncClient) -> None:
    engine.api_keys += [
        api_key(ROOT, scopes=frozenset({"*", "keys:manage"}), rate_per_s=50.0),
        api_key(SANDBOX_ROOT, scopes=frozenset({"*", "keys:manage"}), rate_per_s=50.0),
        api_key(SMALL, scopes=frozenset({"voice:read", "keys:manage"}), rate_per_s=5.0, expires_at=ENDS),
    ]
    client.headers["Authorization"] = f"Bearer {ROOT}"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def made(client: httpx.AsyncClient, by: str = ROOT, **wanted: Any) -> dict[str, Any]:
    response = await client.post("/api/keys", json={"name": "shop", **wanted}, headers=bearer(by))
    assert response.status_code == 200, response.text
    view: dict[str, Any] = response.json()
    return view


async def test_key_is_shown_whole_once_works_at_once_and_is_listed_by_its_prefix(client: httpx.AsyncClient) -> None:
    view = await made(client, scopes=["voice:read"], rateLimit=2.5, expiresAt="2999-01-01T02:00:00+02:00")
    key = view.pop("key")
    assert view == {
        "id": view["id"],
        "name": "shop",
        "prefix": key[:14],
        "environment": "live",
        "scopes": ["voice:read"],
        "rateLimit": 2.5,
        "createdAt": view["createdAt"],
        "expiresAt": "2999-01-01T00:00:00.000Z",
    }
    assert (await client.get("/api/voice/none", headers=bearer(key))).status_code == 404
    listed = await client.get("/api/keys")
    assert key not in listed.text
    assert [each["id"] for each in listed.json()["keys"]] == [view["id"]]


async def test_key_that_only_has_a_name_is_one_as_the_contract_has_them(client: httpx.AsyncClient) -> None:
    view = await made(client)
    assert (view["environment"], view["scopes"], view["rateLimit"]) == ("live", ["*"], 10.0)
    assert "expiresAt" not in view


async def test_revoked_key_is_refused_at_once_and_stays_listed(client: httpx.AsyncClient) -> None:
    view = await made(client)
    for _ in range(2):
        response = await client.delete(f"/api/keys/{view['id']}")
        assert response.json() == {"revoked": True}
    assert (await client.get("/api/voice/none", headers=bearer(view["key"]))).status_code == 401
    [listed] = (await client.get("/api/keys")).json()["keys"]
    assert "revokedAt" in listed


@pytest.mark.parametrize("key_id", ["nobody", "9f5f2a10-0000-0000-0000-000000000000", "x" * 5000])
async def test_unknown_key_answers_404(client: httpx.AsyncClient, key_id: str) -> None:
    assert (await client.delete(f"/api/keys/{key_id}")).status_code == 404


async def test_star_does_not_manage_keys(client: httpx.AsyncClient) -> None:
    for refused in (
        await client.post("/api/keys", json={"name": "x"}, headers=bearer(LIVE_KEY)),
        await client.get("/api/keys", headers=bearer(LIVE_KEY)),
    ):
        assert refused.status_code == 403
        assert refused.json()["detail"] == "This key lacks the scope keys:manage."


@pytest.mark.parametrize(
    ("by", "wanted", "detail"),
    [
        (SMALL, {}, "cannot grant scopes that it lacks: *."),
        (SMALL, {"scopes": ["voice:read", "voice:call"]}, "cannot grant scopes that it lacks: voice:call."),
        (SMALL, {"scopes": ["voice:read"], "rateLimit": 6}, "cannot grant a rate limit above its own (5 per second)."),
        (
            SMALL,
            {"scopes": ["voice:read"], "expiresAt": "3000-01-01T00:00:00Z"},
            "a later expiry than its own (2999-12-31T00:00:00+00:00).",
        ),
        (SANDBOX_ROOT, {"environment": "live"}, "can create sandbox keys only."),
    ],
)
async def test_key_gives_no_more_than_it_has(
    client: httpx.AsyncClient, engine: FakeEngine, by: str, wanted: dict[str, Any], detail: str
) -> None:
    response = await client.post("/api/keys", json={"name": "x", **wanted}, headers=bearer(by))
    assert response.status_code == 403
    assert response.json()["type"].endswith("/forbidden")
    assert response.json()["detail"].endswith(detail)
    assert await engine.store.list_keys() == []


async def test_what_is_left_out_is_never_more_than_the_asking_key_has(client: httpx.AsyncClient) -> None:
    view = await made(client, SMALL, scopes=["voice:read", "keys:manage"])
    assert (view["rateLimit"], view["expiresAt"]) == (5.0, "2999-12-31T00:00:00.000Z")


async def test_sandbox_key_neither_sees_nor_ends_live_ones_and_a_live_one_does_both(client: httpx.AsyncClient) -> None:
    live, test = await made(client), await made(client, environment="test")
    assert test["key"].startswith("tk_test_")

    async def seen(by: str) -> list[str]:
        return [each["id"] for each in (await client.get("/api/keys", headers=bearer(by))).json()["keys"]]

    assert await seen(SANDBOX_ROOT) == [test["id"]]
    assert await seen(ROOT) == [live["id"], test["id"]]
    assert (await client.delete(f"/api/keys/{live['id']}", headers=bearer(SANDBOX_ROOT))).status_code == 404
    assert (await client.delete(f"/api/keys/{test['id']}")).json() == {"revoked": True}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["voice:cal"]}, "scopes[0]"),
        ({"scopes": "*"}, "scopes"),
        ({"rateLimit": 0}, "rateLimit"),
        ({"rateLimit": "5"}, "rateLimit"),
        ({"rateLimit": None}, "rateLimit"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "2999-01-01T00:00:00"}, "expiresAt"),
        ({"expiresAt": "soon"}, "expiresAt"),
        ({"environment": "prod"}, "environment"),
        ({"expires": "1d"}, "expires"),
    ],
)
async def test_key_that_makes_no_sense_is_not_made(
    client: httpx.AsyncClient, engine: FakeEngine, wanted: dict[str, Any], field: str
) -> None:
    response = await client.post("/api/keys", json={"name": "x", **wanted})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert await engine.store.list_keys() == []


async def test_name_is_required(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/keys", json={})
    assert response.json()["errors"][0]["message"].startswith("Required: who or what the key is for")


async def test_last_use_is_shown(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    view = await made(client)
    at = datetime(2026, 3, 9, 12, tzinfo=UTC) + timedelta(milliseconds=5)
    await engine.store.touch_key(view["id"], at)
    [listed] = (await client.get("/api/keys")).json()["keys"]
    assert listed["lastUsedAt"] == "2026-03-09T12:00:00.005Z"
