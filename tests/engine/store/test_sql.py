from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.records import CallId
from engine.store import Store, open_store
from tests.engine.store.samples import NOON, Clock, a_call, a_change, a_claim, a_key, an_ai_call

WRITE_FOR_EVER = """
import asyncio, sys
from engine.store import open_store
from tests.engine.store.samples import a_call, a_change
async def main():
    store = await open_store(sys.argv[1])
    async def write():
        while True:
            call = a_call()
            await store.add(call, None, a_change(call))
            print(call.id, flush=True)
    await asyncio.gather(*(write() for _ in range(5)))
asyncio.run(main())
"""


async def whole_calls(url: str) -> set[CallId]:
    store = await open_store(url)
    whole = {call.id for call in await store.live() if len(await store.changes(call.id)) == 1}
    await store.aclose()
    return whole


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/calls.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(url: str, clock: Clock) -> AsyncIterator[Store]:
    opened = await open_store(url, now=clock)
    yield opened
    await opened.aclose()


def test_what_was_answered_to_survives_kill_9(url: str) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().strip() for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        told += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert set(told) <= asyncio.run(whole_calls(url))


async def test_store_that_is_opened_again_has_everything(url: str, store: Store) -> None:
    call, key = an_ai_call(), a_key()
    await store.add(call, a_claim(), a_change(call))
    await store.add_key(key)
    await store.aclose()
    again = await open_store(url, now=Clock())
    assert await again.get(call.id) == call
    assert await again.claimed(a_claim()) == call
    assert await again.find_key(key.digest) == key
    await again.aclose()


async def test_key_made_and_revoked_by_another_process_is_in_force_at_once(url: str, store: Store) -> None:
    key = a_key()
    command_line = await open_store(url)
    await command_line.add_key(key)
    assert await store.find_key(key.digest) == key
    await command_line.revoke_key(key.prefix, NOON)
    assert await store.find_key(key.digest) == replace(key, revoked_at=NOON)
    await command_line.aclose()


async def test_uses_of_a_key_within_ten_seconds_are_noted_once(store: Store) -> None:
    key, other = a_key(), a_key()
    await store.add_key(key)
    await store.add_key(other)

    async def noted_after(seconds: float) -> datetime | None:
        await store.touch_key(key.id, NOON + timedelta(seconds=seconds))
        await store.revoke_key("nothing", NOON)  # Written after the touch.
        return {found.id: found.last_used_at for found in await store.list_keys()}[key.id]

    assert await noted_after(0) == NOON
    assert await noted_after(9.9) == NOON
    assert await noted_after(10) == NOON + timedelta(seconds=10)


async def test_expired_claims_of_everybody_are_forgotten(store: Store, clock: Clock, tmp_path: Path) -> None:
    for api_key_id in ("alice", "bob", "carol"):
        call = a_call()
        await store.add(call, a_claim(api_key_id=api_key_id), a_change(call))
        clock.advance(hours=13)
    with sqlite3.connect(tmp_path / "calls.db") as file:
        kept = file.execute("SELECT api_key_id FROM idempotency_claims").fetchall()
    file.close()
    assert kept == [("bob",), ("carol",)]


async def test_failure_of_the_database_shows_neither_prompt_nor_number(store: Store) -> None:
    call = an_ai_call()
    await store.add(call, None, a_change(call))
    with pytest.raises(EngineError) as caught:
        await store.add(call, None, a_change(call))
    assert "UNIQUE constraint failed: calls.id" in str(caught.value)
    assert "pizza" not in f"{caught.value} {caught.value.__cause__}"
    assert "+1415" not in f"{caught.value} {caught.value.__cause__}"


async def test_time_without_a_zone_is_refused(store: Store) -> None:
    call = a_call(created_at=NOON.replace(tzinfo=None))
    with pytest.raises(EngineError):
        await store.add(call, None, a_change(call))
    assert await store.get(call.id) is None


async def test_closed_store_refuses_writes(store: Store) -> None:
    await store.aclose()
    call = a_call()
    with pytest.raises(EngineError, match="closed"):
        await store.add(call, None, a_change(call))
