"""What the jitter buffer holds, makes up and gives back: each packet's arrival and each frame heard one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from tests import g711
from tests.sip.peers import SippUas
from tests.sip.rtp import SAMPLES, RtpTap
from tests.sip.stack_alone import StackAlone

pytestmark = pytest.mark.sip

LEVELS = np.frombuffer(g711.decode(bytes(range(256)), "PCMU"), "<i2").astype(int)
QUIET = [code for code, level in enumerate(LEVELS) if 0 < abs(level) < 250]
LOUD = [code for code, level in enumerate(LEVELS) if abs(level) > 1000]


def speaks(number: int) -> bool:
    """For 200 ms, then it is quiet for 300."""
    return number % 25 < 10


def never_pauses(number: int) -> bool:
    return True


class FarEnd:
    """Sends packets of one level each, by which they are known when they are heard."""

    def __init__(self, tap: RtpTap, stack: StackAlone, loud: Callable[[int], bool]) -> None:
        self._tap, self._stack, self._loud = tap, stack, loud
        self.sent = 0
        self.heard: list[int | None] = []
        """The number of each packet in the order in which they were heard; ``None`` for what was made up."""

    async def send(self, arrivals: Iterable[int]) -> None:
        """So many packets arrive before each frame that is heard."""
        for packets in arrivals:
            for _ in range(packets):
                self._tap.send(0, bytes([self._code(self.sent)]) * SAMPLES, timestamp=self.sent * SAMPLES)
                self.sent += 1
            level = np.frombuffer(await self._stack.frame(), "<i2")[-1]
            later = range(self._last + 1, self.sent)
            self.heard.append(next((number for number in later if LEVELS[self._code(number)] == level), None))

    @property
    def delay(self) -> int:
        """Packets that have arrived and are not heard yet."""
        return self.sent - 1 - self._last

    @property
    def missed(self) -> list[int]:
        """Packets that were not heard, of those before the last that was."""
        return sorted(set(range(self._last)) - set(self.heard))

    @property
    def made_up(self) -> int:
        """Frames since the first packet was heard."""
        return self.heard[self.heard.index(0) :].count(None)

    @property
    def _last(self) -> int:
        return max((number for number in self.heard if number is not None), default=-1)

    def _code(self, number: int) -> int:
        codes = LOUD if self._loud(number) else QUIET
        return codes[number % len(codes)]


@asynccontextmanager
async def far_end(loud: Callable[[int], bool] = speaks) -> AsyncIterator[FarEnd]:
    with RtpTap() as tap:
        async with SippUas("uas-answers-and-echoes-rtp", rtp=tap) as callee, StackAlone(callee.uri) as stack:
            await stack.frame()
            await tap.wait_for_packets(1)
            yield FarEnd(tap, stack, loud)


@pytest.mark.parametrize(
    ("arrivals", "left_out"), [([1], 1), ([2, 0], 0), ([0, 0, 3], 0), ([0, 0, 0, 4], 0), ([0, 1, 1, 2], 1)]
)
async def test_packets_that_come_singly_or_in_bundles_are_heard_with_none_made_up(
    arrivals: list[int], left_out: int
) -> None:
    async with far_end() as caller:
        await caller.send(arrivals * 60)
        assert caller.made_up == 0
        assert len(caller.missed) == left_out
        assert not any(map(speaks, caller.missed))


async def test_delay_that_a_stalled_far_end_leaves_behind_is_given_back_where_the_caller_is_quiet() -> None:
    async with far_end() as caller:
        await caller.send([1] * 100)
        before = caller.delay
        await caller.send([0] * 6 + [7])
        assert caller.delay == before + 6
        await caller.send([1] * 110)
        assert caller.delay == before
        assert caller.made_up == 6
        assert not any(map(speaks, caller.missed))


async def test_caller_who_never_pauses_loses_a_packet_a_watch_until_40_ms_of_the_delay_are_left() -> None:
    async with far_end(never_pauses) as caller:
        await caller.send([1] * 100 + [0] * 6 + [7] + [1] * 1000)
        assert caller.delay == 2
        assert caller.made_up == 5
        assert len(caller.missed) == 4
        assert min(np.diff(caller.missed)) > 100


async def test_burst_longer_than_the_buffer_leaves_its_newest_200_ms_and_in_the_end_no_delay() -> None:
    async with far_end() as caller:
        await caller.send([1] * 100)
        before, last = caller.delay, caller.sent
        await caller.send([0] * 49 + [50])
        lost = caller.sent - last - 10
        assert caller.heard[-1] == last + lost
        await caller.send([1] * 200)
        assert caller.delay == before
        assert not any(map(speaks, set(caller.missed) - set(range(last, last + lost))))
