"""The pool of workers: lines leased, released, lost, and the processes behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.messages.commands import Command, Dial, HangUp, Stop
from engine.messages.events import AttemptEnded, CallEvent, Event, Heartbeat, LineFree, Ready
from engine.outcome import CALLEE_HANGUP
from engine.processes import pool as pool_module
from engine.processes.pool import WorkerPool
from engine.processes.worker_handle import SILENT_SWEEPS
from engine.records import AttemptId
from tests.engine.samples import trunk


class FakeChild:
    """A worker that exists only as its pipe; it does not imitate time."""

    def __init__(self, slot: int, on_event: Callable[[Event], None], on_exit: Callable[[], None]) -> None:
        self.pid = 1000 + slot
        self.slot = slot
        self.on_event = on_event
        self.on_exit = on_exit
        self.commands: list[Command] = []

    def kill(self) -> None:
        self.on_exit()

    def send(self, command: Command) -> None:
        self.commands.append(command)
        if isinstance(command, Stop):
            self.on_exit()


class Rig:
    def __init__(self, *, max_calls: int = 8, slots: int = 4, spare_lines: int = 4, lines: int = 4) -> None:
        self.children: list[FakeChild] = []
        self.lines = lines
        self.events: list[CallEvent] = []
        self.lost: list[AttemptId] = []
        self.pool = WorkerPool(
            self.start,
            max_calls=max_calls,
            slots=slots,
            spare_lines=spare_lines,
            on_event=self.events.append,
            on_lost=self.lost.append,
        )
        self.freed: list[AttemptId] = []
        self.room = asyncio.Event()
        self.pool.watch(on_room=self.room.set, on_free=self.freed.append)

    async def lease(self, call: AttemptId) -> int:
        """As admission does: ask again whenever there may be room."""
        async with asyncio.timeout(30):
            while (slot := self.pool.lease(call)) is None:
                self.room.clear()
                await self.room.wait()
        return slot

    async def start(self, slot: int, on_event: Callable[[Event], None], on_exit: Callable[[], None]) -> FakeChild:
        child = FakeChild(slot, on_event, on_exit)
        self.children.append(child)
        asyncio.get_running_loop().call_soon(on_event, Ready(lines=self.lines))
        return child


def ended(call: str) -> AttemptEnded:
    return AttemptEnded(attempt_id=AttemptId(call), outcome=CALLEE_HANGUP, media={})


def dial(call: str) -> Dial:
    return Dial(
        attempt_id=AttemptId(call),
        sip_call_id="CA1",
        trunk=trunk().account,
        from_number="+1",
        to_number="+2",
        with_agent=False,
    )


def beat(*calls: str, dials: int) -> Heartbeat:
    table = frozenset(AttemptId(call) for call in calls)
    return Heartbeat(calls=table, dials=dials, late_p99_ms=0, late_max_ms=0)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_warm_lines_are_there_before_the_first_call_and_refilled_after_it() -> None:
    rig = Rig(spare_lines=4)
    rig.pool.warm_up()
    await settle()
    assert [child.slot for child in rig.children] == [0]
    await rig.lease(AttemptId("a"))
    await settle()
    assert [child.slot for child in rig.children] == [0, 1]
    await rig.pool.close()


async def test_calls_share_a_worker_until_its_lines_are_used() -> None:
    rig = Rig(max_calls=8, lines=2)
    slots = [await rig.lease(AttemptId(name)) for name in "abcd"]
    assert sorted(slots) == [0, 0, 1, 1]
    await rig.pool.close()


async def test_calls_are_spread_while_they_are_few_and_packed_when_they_are_many() -> None:
    rig = Rig(max_calls=32, slots=2, lines=16, spare_lines=17)
    rig.pool.warm_up()
    await settle()
    slots = [await rig.lease(AttemptId(str(number))) for number in range(24)]
    assert [sorted(slots[:count]).count(0) for count in (4, 8, 24)] == [4, 4, 16]
    await rig.pool.close()


async def test_a_freed_line_is_leased_again() -> None:
    rig = Rig(max_calls=1, slots=1, lines=1)
    await rig.lease(AttemptId("a"))
    await settle()
    assert rig.pool.lease(AttemptId("b")) is None
    rig.children[0].on_event(ended("a"))
    assert rig.freed == ["a"]
    assert await rig.lease(AttemptId("b")) == 0
    assert rig.events == [ended("a")]
    await rig.pool.close()


async def test_a_line_whose_far_end_has_not_confirmed_the_end_is_free_when_it_has() -> None:
    rig = Rig(max_calls=1, slots=1, lines=1)
    await rig.lease(AttemptId("a"))
    rig.children[0].on_event(replace(ended("a"), line_held=True))
    assert rig.pool.lease(AttemptId("b")) is None
    rig.children[0].on_event(LineFree(attempt_id=AttemptId("a")))
    assert rig.freed == ["a"]
    assert await rig.lease(AttemptId("b")) == 0
    await rig.pool.close()


async def test_a_line_that_is_given_back_is_leased_again() -> None:
    rig = Rig(max_calls=1, slots=1, lines=1)
    await rig.lease(AttemptId("a"))
    rig.pool.give_back(AttemptId("a"))
    assert await rig.lease(AttemptId("b")) == 0
    assert rig.events == []
    await rig.pool.close()


async def test_a_dead_workers_calls_are_lost_once_and_its_slot_is_filled_again() -> None:
    rig = Rig(max_calls=4)
    await rig.lease(AttemptId("a"))
    await rig.lease(AttemptId("b"))
    dead = rig.children[0]
    dead.on_exit()
    assert sorted(rig.lost) == ["a", "b"]
    dead.on_event(ended("a"))
    assert await rig.lease(AttemptId("c")) == 0
    assert rig.children[-1] is not dead
    assert sorted(rig.lost) == ["a", "b"]
    await rig.pool.close()


async def test_a_worker_whose_calls_end_too_fast_rests_and_another_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "COOLING_S", 60)
    rig = Rig(max_calls=4, spare_lines=0)
    slots = []
    for number in range(25):
        slots.append(await rig.lease(AttemptId(str(number))))
        rig.children[slots[-1]].on_event(ended(str(number)))
    assert slots == [0] * 20 + [1] * 5
    await rig.pool.close()


async def test_a_rested_worker_takes_calls_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "COOLING_S", 0.01)
    rig = Rig(max_calls=4, slots=1, spare_lines=0)
    for number in range(50):
        assert await rig.lease(AttemptId(str(number))) == 0
        rig.children[0].on_event(ended(str(number)))
    await rig.pool.close()


async def test_closing_stops_every_worker_and_waits_for_it() -> None:
    rig = Rig()
    rig.pool.warm_up()
    await settle()
    await rig.pool.close()
    assert all(isinstance(child.commands[-1], Stop) for child in rig.children)
    assert list(rig.pool.pids()) == []


async def test_a_worker_that_says_nothing_is_killed_and_its_calls_are_lost() -> None:
    rig = Rig(max_calls=4, spare_lines=0)
    await rig.lease(AttemptId("a"))
    silent = rig.children[0]
    for _ in range(SILENT_SWEEPS):
        rig.pool.sweep()
    assert rig.lost == []
    rig.pool.sweep()
    assert rig.lost == ["a"]
    assert await rig.lease(AttemptId("b")) == 0
    assert rig.children[-1] is not silent
    await rig.pool.close()


async def test_a_worker_that_says_anything_now_and_then_is_left_alone() -> None:
    rig = Rig(max_calls=4, spare_lines=0)
    await rig.lease(AttemptId("a"))
    for _ in range(3 * SILENT_SWEEPS):
        rig.pool.sweep()
        if _ % SILENT_SWEEPS == 0:
            rig.children[0].on_event(beat(dials=0))
    assert rig.lost == []
    await rig.pool.close()


@pytest.mark.parametrize(
    ("dialled", "told", "lost"),
    [
        pytest.param(("a", "b"), beat("a", "b", dials=2), [], id="both sides agree"),
        pytest.param(("a", "b"), beat("a", dials=2), ["b"], id="the worker lost one"),
        pytest.param(("a", "b"), beat("a", dials=1), [], id="the second dial is still on its way"),
        pytest.param(("a", "b"), beat(dials=0), [], id="both dials are still on their way"),
        pytest.param(("a",), beat("a", dials=1), [], id="leased but not dialled yet"),
        pytest.param((), beat(dials=0), [], id="nothing dialled"),
    ],
)
async def test_a_call_that_its_worker_does_not_know_is_lost(
    dialled: tuple[str, ...], told: Heartbeat, lost: list[str]
) -> None:
    rig = Rig(max_calls=4, spare_lines=0)
    for call in ("a", "b"):
        await rig.lease(AttemptId(call))
    for call in dialled:
        rig.pool.send(AttemptId(call), dial(call))
    rig.children[0].on_event(told)
    assert rig.lost == lost
    assert [rig.pool.carries(AttemptId(call)) for call in ("a", "b")] == [call not in lost for call in ("a", "b")]
    await rig.pool.close()


async def test_a_line_that_is_nobodys_is_hung_up() -> None:
    rig = Rig(max_calls=4, spare_lines=0)
    await rig.lease(AttemptId("a"))
    rig.pool.send(AttemptId("a"), dial("a"))
    rig.children[0].on_event(beat("a", "ghost", dials=1))
    assert [command.attempt_id for command in rig.children[0].commands if isinstance(command, HangUp)] == ["ghost"]
    assert rig.lost == []
    rig.children[0].on_event(replace(ended("ghost"), line_held=True))
    assert [await rig.lease(AttemptId(call)) for call in "bcd"] == [0, 0, 0]
    await rig.pool.close()


async def test_a_line_that_the_far_end_has_yet_to_confirm_is_held_though_its_worker_reports_it_no_more() -> None:
    rig = Rig(max_calls=4, spare_lines=0)
    await rig.lease(AttemptId("a"))
    rig.pool.send(AttemptId("a"), dial("a"))
    rig.children[0].on_event(replace(ended("a"), line_held=True))
    rig.children[0].on_event(beat(dials=1))
    assert rig.pool.carries(AttemptId("a"))
    assert rig.lost == []
    rig.children[0].on_event(LineFree(attempt_id=AttemptId("a")))
    assert not rig.pool.carries(AttemptId("a"))
    await rig.pool.close()


async def test_a_worker_that_cannot_send_an_invite_gets_no_calls_and_leaves_after_its_last_one() -> None:
    rig = Rig(max_calls=8, spare_lines=0)
    first, second = AttemptId("a"), AttemptId("b")
    assert [await rig.lease(first), await rig.lease(second)] == [0, 0]
    failing = rig.children[0]
    failing.on_event(AttemptEnded(attempt_id=second, outcome=CALLEE_HANGUP, media={}, unsent=True))
    assert await rig.lease(AttemptId("c")) == 1
    assert not any(isinstance(command, Stop) for command in failing.commands)
    failing.on_event(ended("a"))
    assert any(isinstance(command, Stop) for command in failing.commands)
    await rig.pool.close()


async def test_a_worker_that_speaks_for_another_workers_call_is_not_believed() -> None:
    rig = Rig(max_calls=8, spare_lines=0, lines=1)
    first, second = AttemptId("a"), AttemptId("b")
    assert [await rig.lease(first), await rig.lease(second)] == [0, 1]
    liar = rig.children[1]
    liar.on_event(ended("a"))
    liar.on_event(LineFree(attempt_id=first))
    liar.on_event(Ready(lines=1000))
    assert rig.events == []
    assert rig.pool.carries(first)
    rig.children[0].on_event(ended("a"))
    assert rig.events == [ended("a")]
    assert not rig.pool.carries(first)
    await rig.pool.close()
