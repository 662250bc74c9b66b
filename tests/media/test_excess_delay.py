"""A jitter buffer that is watched: what is given back, when, and what never is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from media.excess_delay import ExcessDelay
from tests.audio import tone

QUIET, SOUND = bytes(320), tone(500, 8000, 0.02)


class Buffer:
    """What waits in it before each read is what jitter leaves of ``depth``, and what was left out is gone from it."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.left_out: list[int] = []
        self._delay = ExcessDelay()
        self._reads = 0

    def read(self, pcm: bytes, jitter: Iterable[int]) -> None:
        for late in jitter:
            if self._delay.leave_out(pcm, max(0, self.depth - late)):
                self.depth -= 1
                self.left_out.append(self._reads)
            self._reads += 1


def rarely(reads: int, *, every: int) -> Iterator[int]:
    """One packet late in so many."""
    return (int(read % every == every - 1) for read in range(reads))


@pytest.mark.parametrize(
    ("depth", "reads"),
    [(1, []), (2, [50]), (3, [25, 50]), (6, [10, 13, 17, 25, 50]), (10, [6, 7, 8, 9, 10, 13, 17, 25, 50])],
)
def test_what_always_waits_beyond_one_packet_is_left_out_in_quiet_the_sooner_the_more_it_is(
    depth: int, reads: list[int]
) -> None:
    buffer = Buffer(depth)
    buffer.read(QUIET, [0] * 1000)
    assert [read + 1 for read in buffer.left_out] == reads


def test_a_long_delay_goes_soon_even_where_the_buffer_ran_empty_often() -> None:
    buffer = Buffer(1)
    for _ in range(10):
        buffer.read(QUIET, [0, 1])
    buffer.depth = 6  # what was held up for 100 ms
    buffer.read(QUIET, [0] * 2000)
    assert [(read - 19) * 20 / 1000 for read in buffer.left_out] == [6.4, 8.0, 10.68, 16.0, 32.0]


def test_where_all_is_sound_two_packets_are_borne_and_what_is_beyond_goes_one_a_watch() -> None:
    buffer = Buffer(6)
    buffer.read(SOUND, [0] * 1000)
    assert buffer.depth == 3
    assert buffer.left_out == [99, 149, 199]


def test_sound_stays_whole_where_each_watch_has_some_quiet() -> None:
    buffer = Buffer(10)
    for _ in range(20):
        buffer.read(SOUND, [0] * 46)
        buffer.read(QUIET, [0] * 4)
    assert buffer.depth == 1
    assert all(read % 50 >= 46 for read in buffer.left_out)


def test_what_was_found_to_be_too_much_in_sound_goes_with_the_first_quiet() -> None:
    buffer = Buffer(3)
    buffer.read(SOUND, [0] * 220)
    buffer.read(QUIET, [0] * 2)
    assert buffer.left_out == [220, 221]


@pytest.mark.parametrize("pcm", [QUIET, SOUND])
def test_a_packet_that_jitter_needs_now_and_then_stays(pcm: bytes) -> None:
    buffer = Buffer(2)
    buffer.read(pcm, rarely(1000, every=20))
    assert buffer.depth == 2


def test_jitter_that_is_rare_is_remembered_the_longer_the_more_often_the_buffer_ran_empty() -> None:
    forgotten = []
    buffer = Buffer(1)
    for _ in range(7):
        buffer.read(QUIET, [1])
        buffer.depth = 2  # the packet that came late waits from now on
        before = len(buffer.left_out)
        buffer.read(QUIET, [0] * 2000)
        assert len(buffer.left_out) == before + 1 and buffer.depth == 1
        forgotten.append(buffer.left_out[-1])
    waits = [left - emptied for left, emptied in zip(forgotten, range(0, 14007, 2001), strict=False)]
    assert waits == [50, 100, 200, 400, 800, 1600, 1600]


def test_a_far_end_that_sends_nothing_while_it_hears_nobody_empties_the_buffer_once_a_pause() -> None:
    buffer = Buffer(0)
    buffer.read(QUIET, [0] * 500)
    buffer.depth = 2
    buffer.read(SOUND, [0] * 50)
    buffer.read(QUIET, [0])
    assert buffer.left_out == [550]
