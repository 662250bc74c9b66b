"""The media clock: when it ticks, when it rests; in a time of the tests' own."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

import pytest

from engine.pjsip import clock
from engine.pjsip.clock import TICK_S, MediaClock


class Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.run = callback

    def cancel(self) -> None:
        self.run = lambda: None


class Time:
    """The event loop's timers and the monotonic clock, both of which move by ``pass_ticks`` alone."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self.now_s

    def call_at(self, due_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (due_s, next(self._order), timer))
        return timer

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(self.now_s + delay_s, callback)

    def pass_ticks(self, ticks: float) -> None:
        until_s = self.now_s + ticks * TICK_S
        while self._timers and self._timers[0][0] <= until_s:
            due_s, _, timer = heapq.heappop(self._timers)
            self.now_s = max(self.now_s, due_s)
            timer.run()
        self.now_s = until_s

    def stall(self, ticks: float) -> None:
        """So long nothing runs that is due."""
        self.now_s += ticks * TICK_S


class Rig:
    def __init__(self, time: Time, *, rest_s: float = 0.05, phase_s: float = 0.0) -> None:
        self.time = time
        self.played_at_s: list[float] = []
        self.calls = 0
        self.done: list[str] = []
        self.clock = MediaClock(
            poll=lambda: self.done.append("poll"),
            play=self._play,
            capture=lambda: self.done.append("capture"),
            busy=lambda: bool(self.calls),
            rest_s=rest_s,
            phase_s=phase_s,
        )

    def _play(self) -> None:
        self.done.append("play")
        self.played_at_s.append(self.time.now_s)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "time", time)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: time)
    return time


def test_a_busy_clock_plays_and_half_a_tick_later_polls_and_captures(time: Time) -> None:
    rig = Rig(time)
    rig.calls = 1
    rig.clock.start()
    time.pass_ticks(6)
    rig.clock.stop()
    turn = ["play", "poll", "capture"]
    assert rig.done[:9] == turn * 3
    assert rig.clock.meter.take().ticks == rig.done.count("play")


def test_a_thrifty_clock_plays_and_captures_in_one_wake_up(time: Time) -> None:
    rig = Rig(time)
    rig.calls = 1
    rig.clock.thrifty = True
    rig.clock.start()
    time.pass_ticks(6)
    rig.clock.stop()
    assert rig.done[:2] == ["poll", "play"]  # the far end has sent nothing yet
    assert rig.done[2:12] == [
        "poll",
        "play",
        "capture",
        "capture",
        "poll",
        "play",
        "capture",
        "poll",
        "play",
        "capture",
    ]
    assert rig.clock.meter.take().ticks == rig.done.count("play")


def test_changing_over_to_thrift_and_back_captures_as_often_as_it_plays(time: Time) -> None:
    rig = Rig(time)
    rig.calls = 1
    rig.clock.start()
    for thrifty in (True, False, True, False):
        time.pass_ticks(4)
        rig.clock.thrifty = thrifty
    time.pass_ticks(4)
    rig.clock.stop()
    assert rig.done.count("capture") == pytest.approx(rig.done.count("play"), abs=1)
    turns = "".join(step[0] if step != "play" else "P" for step in rig.done)
    assert "ccc" not in turns
    assert "PpPpP" not in turns, "two captures must never be left out"


def test_an_idle_clock_only_polls_until_it_is_woken(time: Time) -> None:
    rig = Rig(time, rest_s=60)
    rig.clock.start()
    time.pass_ticks(3)
    assert rig.done == ["poll"]
    rig.calls = 1
    rig.clock.wake()
    rig.clock.wake()
    time.pass_ticks(4)
    rig.calls = 0
    time.pass_ticks(3)
    played = rig.done.count("play")
    assert played >= 3
    time.pass_ticks(3)
    rig.clock.stop()
    assert rig.done.count("play") == played


def test_clocks_that_were_woken_at_any_moments_tick_together_each_in_its_phase(time: Time) -> None:
    rigs = [Rig(time), Rig(time), Rig(time, phase_s=0.003)]
    for rig in rigs:
        rig.calls = 1
        rig.clock.start()
        time.pass_ticks(0.37)
    time.pass_ticks(0.5)
    time.stall(20.1)
    time.pass_ticks(3)
    for rig, phase_s in zip(rigs, (0.0, 0.0, 0.003), strict=True):
        rig.clock.stop()
        at_ticks = [(at_s - phase_s) / TICK_S for at_s in rig.played_at_s[-2:]]
        assert at_ticks == pytest.approx([round(at) for at in at_ticks])
        assert at_ticks[1] - at_ticks[0] == pytest.approx(1)


def test_a_stall_is_caught_up_when_short_and_passed_over_when_long(time: Time) -> None:
    rig = Rig(time)
    rig.calls = 1
    rig.clock.start()
    time.stall(5)
    time.pass_ticks(4)
    assert rig.done.count("play") == 1 + 5 + 4
    time.stall(50)
    time.pass_ticks(4)
    rig.clock.stop()
    assert rig.done.count("play") == 10 + 1 + 4


def test_nothing_ticks_after_stop(time: Time) -> None:
    rig = Rig(time)
    rig.calls = 1
    rig.clock.start()
    rig.clock.stop()
    done = len(rig.done)
    time.pass_ticks(3)
    assert len(rig.done) == done
