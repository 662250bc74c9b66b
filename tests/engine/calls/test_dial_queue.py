"""Waiting for a turn: what lets an attempt through, and what it gives back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from engine.calls.dial_queue import DialQueue
from engine.calls.pacer import DialGrant, Pacer, Ticket
from engine.errors import NoCapacity
from engine.processes.pool import WorkerPool
from engine.records import AttemptId
from engine.trunks.trunks import ConfiguredTrunks
from tests.engine.samples import trunk


class FakePool:
    """So many lines; it knows no workers."""

    def __init__(self, lines: int) -> None:
        self.free = lines
        self.on_room: Callable[[], None]
        self.on_free: Callable[[AttemptId], None]

    def watch(self, *, on_room: Callable[[], None], on_free: Callable[[AttemptId], None]) -> None:
        self.on_room, self.on_free = on_room, on_free

    def lease(self, attempt_id: AttemptId) -> int | None:
        self.free -= 1
        return 7 if self.free >= 0 else None

    def give_back(self, attempt_id: AttemptId) -> None:
        self.free = max(self.free, 0) + 1
        self.on_free(attempt_id)
        self.on_room()


class Rig:
    def __init__(self, *, lines: int = 9, **limits: int) -> None:
        self.pool = FakePool(lines)
        trunks = ConfiguredTrunks([trunk(**limits)])
        self.admission = DialQueue(cast(WorkerPool, self.pool), trunks, Pacer(trunks.limits()))
        self.granted: list[str] = []

    def ask(self, attempt_id: str) -> None:
        self.admission.ask(Ticket(attempt_id=AttemptId(attempt_id), route=("main",), new_session=False), self._note)

    def _note(self, granted: DialGrant) -> None:
        assert (granted.trunk, granted.slot) == ("main", 7)
        self.granted.append(granted.attempt_id)


async def test_a_free_line_is_granted_at_once_and_a_freed_one_to_a_waiting_attempt() -> None:
    rig = Rig(lines=1)
    rig.ask("1")
    rig.ask("2")
    assert rig.granted == ["1"]
    assert rig.admission.calls("main") == 1
    rig.pool.give_back(AttemptId("1"))
    assert rig.granted == ["1", "2"]


async def test_an_attempt_that_waits_for_a_rate_is_granted_by_time_alone() -> None:
    rig = Rig(calls_per_second=1)
    rig.ask("1")
    rig.ask("2")
    rig.admission.invite_sent(AttemptId("1"), asyncio.get_running_loop().time() - 0.95)
    assert rig.granted == ["1"]
    async with asyncio.timeout(30):
        while rig.granted != ["1", "2"]:
            await asyncio.sleep(0.01)


async def test_an_attempt_that_withdraws_learns_what_held_it_and_gives_its_line_back() -> None:
    rig = Rig(lines=5, max_calls=1)
    rig.ask("1")
    rig.ask("2")
    assert rig.admission.withdraw(AttemptId("2")) == "trunks[main].max_calls = 1"
    free = rig.pool.free
    assert rig.admission.withdraw(AttemptId("1")) == ""
    assert rig.pool.free == free + 1
    assert rig.granted == ["1"]


async def test_a_queue_longer_than_can_be_served_in_time_takes_nobody() -> None:
    rig = Rig(calls_per_second=2)
    for number in range(24):
        rig.ask(str(number))
    rig.admission.check_wait(("main",), 11, new_session=False)
    with pytest.raises(NoCapacity, match=r"would wait 11 s, longer than sip.queue_timeout \(10 s\)") as refused:
        rig.admission.check_wait(("main",), 10, new_session=False)
    assert refused.value.retry_after_s == 1
