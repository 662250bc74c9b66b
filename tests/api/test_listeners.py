from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest

from api.listeners import MOST_STREAMS, Listeners
from api.problems import Refusal
from engine.errors import StoreUnavailable
from engine.keys.key import ApiKey
from tests.api.fakes import LIVE_KEY, NOW, TEST_KEY, FakeEngine, ManualClock, a_call, api_key

KEY = api_key(LIVE_KEY)


class CountingKeys(FakeEngine):
    """Counts the look-ups, each of which takes a turn of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up = 0
        self.broken = False

    async def find_key(self, digest: str) -> ApiKey | None:
        self.looked_up += 1
        await asyncio.sleep(0)
        if self.broken:
            raise StoreUnavailable("disk full")
        return await super().find_key(digest)


async def test_all_streams_of_a_key_share_one_look_up_a_second() -> None:
    store, clock = CountingKeys(), ManualClock()
    listeners = Listeners(store, monotonic_s=clock)
    with ExitStack() as streams:
        for _ in range(20):
            streams.enter_context(listeners.listening(KEY))
        for seconds in range(1, 4):
            assert all(await asyncio.gather(*(listeners.may_listen(KEY) for _ in range(20))))
            assert store.looked_up == seconds
            clock.s += 1


@pytest.mark.parametrize("how", ["revoked", "store fails"])
async def test_no_stream_goes_on_a_second_after_its_key_ended(how: str) -> None:
    store, clock = CountingKeys(), ManualClock()
    listeners = Listeners(store, monotonic_s=clock)
    with listeners.listening(KEY):
        assert await listeners.may_listen(KEY)
        store.broken = how == "store fails"
        store.api_keys[:] = [replace(key, revoked_at=NOW) for key in store.api_keys]
        clock.s += 1
        assert not await listeners.may_listen(KEY)


async def test_stream_that_leaves_during_a_look_up_ends_no_other() -> None:
    listeners = Listeners(CountingKeys())
    with listeners.listening(KEY), listeners.listening(KEY):
        leaving = asyncio.create_task(listeners.may_listen(KEY))
        staying = asyncio.create_task(listeners.may_listen(KEY))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying


def test_streams_are_bounded_for_each_key_alone() -> None:
    listeners = Listeners(FakeEngine())
    with ExitStack() as streams:
        for _ in range(MOST_STREAMS):
            streams.enter_context(listeners.listening(KEY))
        with pytest.raises(Refusal, match=r"follows 32 calls already"), listeners.listening(KEY):
            pass
        with listeners.listening(api_key(TEST_KEY)):
            pass
    with listeners.listening(KEY):
        pass


async def test_stream_beyond_the_limit_gets_a_429_until_another_one_ends(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.listeners.MOST_STREAMS", 1)
    call = a_call()
    engine.calls[call.id] = call
    following = asyncio.create_task(client.get(f"/api/voice/{call.id}/events"))
    await engine.watched.wait()
    refused = await client.get(f"/api/voice/{call.id}/events")
    assert refused.status_code == 429
    assert refused.json()["detail"].endswith("Close one of its event streams first.")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await engine.unwatched.wait()
    assert (await client.head(f"/api/voice/{call.id}/events")).status_code == 200
