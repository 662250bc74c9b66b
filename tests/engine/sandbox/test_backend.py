"""The test environment with its real processes: every number does what the table says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.assembly import running_engine
from engine.config.settings import Config
from engine.engine import Engine
from engine.log import LogSettings
from engine.outcome import Cause
from engine.records import AgentSettings, CallRecord, CallRequest, Environment, Status

TEST = Environment.TEST
pytestmark = pytest.mark.sip


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    config = Config.model_validate({"store": {"url": f"sqlite:///{tmp_path}/calls.db"}, "sip": {"ring_timeout": "2s"}})
    async with running_engine(config, log=LogSettings(level="CRITICAL")) as engine:
        yield engine


async def call(engine: Engine, number: str, agent: AgentSettings | None = None) -> CallRecord:
    placed = await engine.place(CallRequest(from_number="+15005550100", to_number=number, agent=agent), TEST)
    async with asyncio.timeout(30):
        changes = [record async for record in engine.watch(placed.id, TEST)]
    return changes[-1]


async def test_each_number_of_the_sandbox_does_what_its_row_says(engine: Engine) -> None:
    expected = {
        "+15005550001": (Status.FAILED, Cause.BUSY, 486),
        "+15005550002": (Status.FAILED, Cause.NO_ANSWER, None),
        "+15005550003": (Status.FAILED, Cause.REJECTED, 603),
        "+15005550004": (Status.FAILED, Cause.TRUNK_UNAVAILABLE, 503),
        "+15005550006": (Status.COMPLETED, Cause.CALLEE_HANGUP, None),
        "+15005550007": (Status.COMPLETED, Cause.CALLEE_HANGUP, None),
    }
    agents = {"+15005550007": AgentSettings(system_prompt="Ask for the code.")}
    records = await asyncio.gather(*(call(engine, number, agents.get(number)) for number in expected))
    found = {
        record.request.to_number: (record.status, record.outcome.cause, record.outcome.sip_code)
        for record in records
        if record.outcome
    }
    assert found == expected
    assert next(r for r in records if r.request.to_number == "+15005550006").duration_s in (2, 3)
    keyed = next(record.ai for record in records if record.ai)
    assert any("1234#" in line.text for line in keyed.transcript)


async def test_calls_in_quick_succession_and_all_at_once_each_get_their_own_end(engine: Engine) -> None:
    """A PJSIP call object outlives its call for a moment; it must not touch the next call in the same slot."""
    busy = [await call(engine, "+15005550001") for _ in range(80)]
    busy += await asyncio.gather(*(call(engine, "+15005550001") for _ in range(32)))
    assert Counter(record.outcome.cause for record in busy if record.outcome) == {Cause.BUSY: 112}
