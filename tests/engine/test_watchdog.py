"""The watchdog's own promise: it goes on."""

from __future__ import annotations

import asyncio

import pytest

from engine.watchdog import watch_over


async def test_a_sweep_that_fails_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    swept = asyncio.Semaphore(0)

    def sweep() -> None:
        swept.release()
        raise RuntimeError("found something")

    watching = asyncio.create_task(watch_over(sweep, every_s=0.001))
    async with asyncio.timeout(30):
        for _ in range(3):
            await swept.acquire()
    watching.cancel()
    assert "watchdog's sweep failed" in caplog.text
