"""Lines of an environment: each is held by one call, and given back once."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from engine.calls.capacity import Capacity
from engine.errors import NoCapacity
from engine.records import Environment

LIVE, TEST = Environment.LIVE, Environment.TEST


async def test_no_more_lines_are_held_than_there_are_and_each_environment_has_its_own() -> None:
    capacity = Capacity({LIVE: 2, TEST: 1})
    with capacity.hold(LIVE), capacity.hold(LIVE):
        with pytest.raises(NoCapacity, match=r"All 2 lines \(sip.max_calls\)"):
            capacity.hold(LIVE).__enter__()
        with capacity.hold(TEST):
            assert (capacity.used(LIVE), capacity.used(TEST)) == (2, 1)
    assert (capacity.used(LIVE), capacity.used(TEST)) == (0, 0)


async def test_a_line_whose_block_fails_is_given_back() -> None:
    capacity = Capacity({LIVE: 1})
    with pytest.raises(RuntimeError), capacity.hold(LIVE):
        raise RuntimeError
    with capacity.hold(LIVE):
        assert capacity.used(LIVE) == 1


async def test_it_is_idle_when_the_last_line_of_all_environments_is_given_back() -> None:
    capacity = Capacity({LIVE: 1, TEST: 1})
    live, test = ExitStack(), ExitStack()
    live.enter_context(capacity.hold(LIVE))
    test.enter_context(capacity.hold(TEST))
    idle = asyncio.create_task(capacity.until_idle(30))
    live.close()
    await asyncio.sleep(0.01)
    assert not idle.done()
    test.close()
    async with asyncio.timeout(5):
        await idle


async def test_the_wait_for_idleness_ends_at_its_time_out() -> None:
    capacity = Capacity({LIVE: 1})
    with capacity.hold(LIVE):
        await capacity.until_idle(0.01)
        assert capacity.used(LIVE) == 1
