"""The media clock: when it ticks, when it rests."""

from __future__ import annotations

import asyncio

import pytest

from engine.sip.clock import TICK_S, MediaClock


class Rig:
    def __init__(self, *, rest_s: float = 0.05) -> None:
        self.calls = 0
        self.done: list[str] = []
        self.clock = MediaClock(
            poll=lambda: self.done.append("poll"),
            play=lambda: self.done.append("play"),
            capture=lambda: self.done.append("capture"),
            busy=lambda: bool(self.calls),
            rest_s=rest_s,
        )


async def test_a_busy_clock_polls_plays_polls_and_captures_in_turn() -> None:
    rig = Rig()
    rig.calls = 1
    rig.clock.start()
    await asyncio.sleep(TICK_S * 6)
    rig.clock.stop()
    turn = ["poll", "play", "poll", "capture"]
    assert rig.done[:12] == turn * 3
    assert rig.clock.meter.take().ticks == rig.done.count("play")


async def test_a_thrifty_clock_plays_and_captures_in_one_wake_up() -> None:
    rig = Rig()
    rig.calls = 1
    rig.clock.thrifty = True
    rig.clock.start()
    await asyncio.sleep(TICK_S * 6)
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


async def test_changing_over_to_thrift_and_back_captures_as_often_as_it_plays() -> None:
    rig = Rig()
    rig.calls = 1
    rig.clock.start()
    for thrifty in (True, False, True, False):
        await asyncio.sleep(TICK_S * 4)
        rig.clock.thrifty = thrifty
    await asyncio.sleep(TICK_S * 4)
    rig.clock.stop()
    assert rig.done.count("capture") == pytest.approx(rig.done.count("play"), abs=1)
    turns = "".join(step[0] if step != "play" else "P" for step in rig.done)
    assert "ccc" not in turns
    assert "PpPpP" not in turns, "two captures must never be left out"


async def test_an_idle_clock_only_polls_until_it_is_woken() -> None:
    rig = Rig(rest_s=60)
    rig.clock.start()
    await asyncio.sleep(TICK_S * 3)
    assert rig.done == ["poll"]
    rig.calls = 1
    rig.clock.wake()
    rig.clock.wake()
    await asyncio.sleep(TICK_S * 4)
    rig.calls = 0
    await asyncio.sleep(TICK_S * 3)
    played = rig.done.count("play")
    assert played >= 3
    await asyncio.sleep(TICK_S * 3)
    rig.clock.stop()
    assert rig.done.count("play") == played


async def test_a_stall_is_caught_up_when_short_and_passed_over_when_long() -> None:
    rig = Rig()
    rig.calls = 1
    rig.clock.start()
    rig.clock._due_s -= 5 * TICK_S
    await asyncio.sleep(TICK_S * 4)
    caught_up = rig.done.count("play")
    assert caught_up >= 7
    rig.clock._due_s -= 50 * TICK_S
    await asyncio.sleep(TICK_S * 4)
    rig.clock.stop()
    assert rig.done.count("play") - caught_up < 20


async def test_nothing_ticks_after_stop() -> None:
    rig = Rig()
    rig.calls = 1
    rig.clock.start()
    rig.clock.stop()
    done = len(rig.done)
    await asyncio.sleep(TICK_S * 3)
    assert len(rig.done) == done
