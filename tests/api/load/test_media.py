from __future__ import annotations

import numpy as np
import pytest

from api.load.media import Stream, live_spacing_ms, spread, streams
from tests.api.load.traces import FRAME_NS, START_NS, late, silent, stream, without


def only(rows: np.ndarray) -> Stream:
    (found,) = streams(rows)
    return found


def test_perfect_stream_has_no_fault_although_its_sequence_numbers_wrap() -> None:
    found = only(stream())
    assert (found.received, found.lost) == (100, 0)
    assert found.spacing_ms().max() == 0
    assert list(found.gaps_ms()) == []
    assert set(found.clarity_db()) == {36.0}


def test_lost_packet_is_counted_and_is_a_gap_but_no_spacing_error() -> None:
    found = only(without(stream(), 50))
    assert (found.received, found.lost) == (99, 1)
    assert found.spacing_ms().max() == 0
    assert list(found.gaps_ms()) == [20.0]


def test_packet_that_comes_twice_counts_once() -> None:
    rows = stream()
    found = only(np.concatenate((rows, rows[50:51])))
    assert (found.received, found.lost, found.echoed) == (100, 0, 101)


def test_packets_that_overtake_are_neither_lost_nor_a_gap() -> None:
    found = only(late(stream(), 50, 30))
    assert (found.received, found.lost, list(found.gaps_ms())) == (100, 0, [])


def test_late_packet_errs_twice_once_by_its_lateness_and_once_by_the_next_ones_haste() -> None:
    spacing_ms = only(late(stream(), 50, 7)).spacing_ms()
    assert sorted(spacing_ms)[-3:] == pytest.approx([0, 7, 7])


def test_silent_frames_inside_speech_are_one_gap_and_a_pause_between_sentences_is_none() -> None:
    found = only(silent(stream(200), [50, 51, *range(100, 150)]))
    assert list(found.gaps_ms()) == [40.0]


def test_silence_before_the_first_word_and_after_the_last_is_no_gap() -> None:
    assert list(only(silent(stream(), [*range(5), *range(90, 100)])).gaps_ms()) == []


def test_hole_within_a_frame_is_a_gap_of_its_length_and_a_zero_crossing_is_none() -> None:
    rows = stream()
    rows["silent_samples"][50], rows["silent_samples"][60] = 40, 3
    assert list(only(rows).gaps_ms()) == [5.0]


def test_holes_at_the_edges_of_missing_frames_belong_to_their_gap() -> None:
    rows = stream()
    rows["silent_samples"][49] = 80
    assert list(only(without(rows, 50)).gaps_ms()) == [30.0]


def test_streams_are_told_apart_by_sender_and_ssrc_in_order_of_their_beginning() -> None:
    second = stream(10, ssrc=2, start_ns=START_NS + 50 * FRAME_NS)
    other = stream(10, port=4002, start_ns=START_NS + FRAME_NS)
    found = streams(np.concatenate((second, other, stream(10))))
    assert [(it.port, it.received) for it in found] == [(4000, 10), (4002, 10), (4000, 10)]
    assert found[2].first_ns == START_NS + 50 * FRAME_NS
    assert len(live_spacing_ms(np.concatenate((second, other)))) == 18


def test_silence_after_a_moment_is_found_only_if_there_was_sound_at_it() -> None:
    found = only(silent(stream(), [*range(10), *range(40, 60)]))
    assert found.first_loud_ns() == START_NS + 10 * FRAME_NS
    assert found.silent_after_ns(START_NS + 30 * FRAME_NS + 1) == START_NS + 40 * FRAME_NS
    assert found.silent_after_ns(START_NS + 50 * FRAME_NS + 1) is None
    assert found.silent_after_ns(START_NS + 70 * FRAME_NS + 1) is None
    assert found.silent_after_ns(START_NS - 1) is None


def test_spread_of_nothing_has_only_a_count() -> None:
    assert spread([]) == {"n": 0}
    assert spread([1.0, 3.0]) == {"n": 2, "p50": 2.0, "p95": 2.9, "p99": 2.98, "min": 1.0, "max": 3.0}
    assert streams(stream(0)) == []
