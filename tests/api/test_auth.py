from __future__ import annotations

import asyncio
import logging
import uuid

import httpx
import pytest

from api.auth import TokenBucket
from api.operations import OPERATIONS, Operation
from engine.keys.key import ApiKey
from engine.keys.keys import KEYS_MANAGE, SCOPES
from tests.api.fakes import (
    EXPIRED_KEY,
    LIVE_KEY,
    NOW,
    READING_KEY,
    REVOKED_KEY,
    SLOW_KEY,
    TEST_KEY,
    FakeEngine,
    ManualClock,
    a_call,
    api_key,
)

BODY = {"from": "+14155559876", "to": "+14155551234"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {LIVE_KEY}",
        LIVE_KEY,
        "Bearer " + "tk_live_" + "z" * 43,
        "Bearer tk_live_short",
        "Bearer " + LIVE_KEY + "x" * 10_000,
        "Bearer " + LIVE_KEY + ", Bearer " + LIVE_KEY,
        f"Bearer {REVOKED_KEY}",
        f"Bearer {EXPIRED_KEY}",
    ],
)
async def test_bad_key_answers_401_in_the_same_words_whatever_is_wrong_with_it(
    client: httpx.AsyncClient, engine: FakeEngine, authorization: str
) -> None:
    response = await client.post("/api/voice", json=BODY, headers={"Authorization": authorization})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json() == {
        "type": "https://trunkline.dev/errors/unauthorized",
        "title": "Unauthorized",
        "status": 401,
        "detail": "The key is unknown, revoked or expired.",
    }
    assert not engine.calls
    assert not engine.touched


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_no_key_answers_401_before_anything_else_is_looked_at(client: httpx.AsyncClient, method: str) -> None:
    del client.headers["Authorization"]
    path = "/api/voice" if method == "POST" else "/api/voice/no-such-call"
    response = await client.request(method, path, content=b"x" * 3_000_000 if method == "POST" else None)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


async def test_two_authorization_headers_are_refused(client: httpx.AsyncClient) -> None:
    headers = [("Authorization", f"Bearer {LIVE_KEY}"), ("Authorization", f"Bearer {TEST_KEY}")]
    assert (await client.post("/api/voice", json=BODY, headers=headers)).status_code == 401


async def test_key_in_the_query_string_is_not_accepted(client: httpx.AsyncClient) -> None:
    del client.headers["Authorization"]
    response = await client.post("/api/voice", json=BODY, params={"key": LIVE_KEY, "access_token": LIVE_KEY})
    assert response.status_code == 401
    assert LIVE_KEY not in response.text


async def test_scheme_may_be_written_in_any_case(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/voice", json=BODY, headers={"Authorization": f"bEARER {LIVE_KEY}"})
    assert response.status_code == 200


async def test_use_of_a_key_is_noted(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await client.post("/api/voice", json=BODY)
    assert engine.touched == [engine.api_keys[0].id]


async def test_key_without_the_scope_answers_403_and_names_the_scope(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    call = a_call()
    engine.calls[call.id] = call
    headers = bearer(READING_KEY)
    for refused in (
        await client.post("/api/voice", json=BODY, headers=headers),
        await client.delete(f"/api/voice/{call.id}", headers=headers),
    ):
        assert refused.status_code == 403
        assert refused.json()["detail"] == "This key lacks the scope voice:call."
    assert (await client.get(f"/api/voice/{call.id}", headers=headers)).status_code == 200
    assert not engine.hung_up


async def test_key_beyond_its_rate_answers_429_until_retry_after_has_passed(
    client: httpx.AsyncClient, clock: ManualClock
) -> None:
    async def status() -> int:
        return (await client.get("/api/voice/none", headers=bearer(SLOW_KEY))).status_code

    assert [await status() for _ in range(3)] == [404, 404, 429]
    response = await client.get("/api/voice/none", headers=bearer(SLOW_KEY))
    assert response.headers["retry-after"] == "1"
    assert response.json()["type"].endswith("/rate-limited")
    assert response.json()["detail"] == "Too many requests with this key (2 per second)."
    assert (await client.get("/api/voice/none", headers=bearer(LIVE_KEY))).status_code == 404
    clock.s += 0.5
    assert [await status() for _ in range(2)] == [404, 429]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
async def test_every_operation_wants_its_scope_and_no_other(
    client: httpx.AsyncClient, engine: FakeEngine, operation: Operation
) -> None:
    scope = operation.scope
    lacking = SCOPES - {scope, "*"} | ({"*"} if scope == KEYS_MANAGE else set())
    keys = {"nothing": None, "all but": frozenset(lacking), "just": frozenset({scope or "voice:read"})}
    answers = {}
    for name, scopes in keys.items():
        secret = f"tk_live_{name.replace(' ', '_'):0<43}"
        if scopes is not None:
            engine.api_keys.append(api_key(secret, scopes=scopes))
        url = operation.path.replace("{id}", str(uuid.uuid4()))
        answers[name] = (await client.request(operation.method, url, headers=bearer(secret))).status_code
    if scope is None:
        assert set(answers.values()) == {200}
    else:
        assert answers.pop("just") not in (401, 403)
        assert answers == {"nothing": 401, "all but": 403}


async def test_flood_of_unknown_keys_is_refused_without_looking_them_up_and_disturbs_no_known_key(
    client: httpx.AsyncClient, engine: FakeEngine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    find = engine.find_key

    async def find_key(digest: str) -> ApiKey | None:
        looked_up.append(digest)
        return await find(digest)

    monkeypatch.setattr(engine, "find_key", find_key)

    async def status(key: str) -> int:
        return (await client.get("/api/voice/none", headers=bearer(key))).status_code

    assert await status(LIVE_KEY) == 404
    statuses = [await status(f"tk_live_{n:043}") for n in range(500)]
    assert statuses == [401] * 99 + [429] * 401
    assert len(looked_up) == 100
    assert await status(LIVE_KEY) == 404
    refused = await client.get("/api/voice/none", headers=bearer(TEST_KEY))
    assert refused.status_code == 429
    assert refused.json()["detail"] == "Too many requests with unknown keys (100 per second)."
    clock.s += 1
    assert await status(TEST_KEY) == 404


async def test_request_beyond_the_rate_costs_no_look_into_the_store(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def burst() -> list[int]:
        asking = (client.get("/api/voice/none", headers=bearer(SLOW_KEY)) for _ in range(50))
        return sorted(response.status_code for response in await asyncio.gather(*asking))

    assert await burst() == [404, 404] + [429] * 48

    async def find_key(digest: str) -> ApiKey | None:
        raise AssertionError

    monkeypatch.setattr(engine, "find_key", find_key)
    assert await burst() == [429] * 50


async def test_key_revoked_or_expired_between_two_requests_is_refused_at_the_second(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    for change in ({"revoked_at": NOW}, {"expires_at": NOW}):
        engine.api_keys[:] = [api_key(LIVE_KEY)]
        assert (await client.get("/api/voice/none")).status_code == 404
        engine.api_keys[:] = [api_key(LIVE_KEY, **change)]
        assert (await client.get("/api/voice/none")).status_code == 401


def test_bucket_grants_its_rate_and_no_more_than_a_second_of_it_at_once() -> None:
    bucket = TokenBucket(2)
    assert [bucket.take(0.0) for _ in range(3)] == [0, 0, 0.5]
    assert bucket.take(0.5) == 0
    assert [bucket.take(1000.0) for _ in range(3)] == [0, 0, 0.5]


def test_bucket_below_one_a_second_grants_one_at_once() -> None:
    bucket = TokenBucket(0.1)
    assert [bucket.take(0.0), bucket.take(0.0)] == [0, 10]


async def test_no_key_is_ever_logged(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trunkline")
    for key in (LIVE_KEY, REVOKED_KEY, READING_KEY):
        await client.post("/api/voice", json=BODY, headers=bearer(key))
    assert "tk_" not in caplog.text
