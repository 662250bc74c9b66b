from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.meters import TickMeter, TickReport


def report_of(*late_ms: float) -> TickReport:
    meter = TickMeter()
    for late in late_ms:
        meter.ticked(late / 1000)
    return meter.take()


def test_nothing_ticked_is_an_empty_report() -> None:
    assert report_of() == TickReport(ticks=0, late_p99_ms=0, late_max_ms=0)


def test_one_tick_in_a_hundred_is_not_in_the_99th_percentile() -> None:
    report = report_of(*[0.25] * 99, 43)
    assert report.ticks == 100
    assert report.late_max_ms == pytest.approx(43)
    assert report.late_p99_ms == pytest.approx(0.3)


def test_two_ticks_in_a_hundred_are() -> None:
    assert report_of(*[0.25] * 98, 43, 43).late_p99_ms == pytest.approx(43)


@given(st.lists(st.floats(0, 3000), min_size=1, max_size=300))
def test_p99_is_the_true_one_rounded_up_by_a_step_at_most(late_ms: list[float]) -> None:
    true = sorted(late_ms)[-(-len(late_ms) * 99 // 100) - 1]
    step = 0.1 if true < 9.99 else 1 if true < 109.9 else 10 if true < 1099 else max(late_ms)
    assert true - 1e-6 <= report_of(*late_ms).late_p99_ms <= true + step + 1e-6


def test_report_starts_again_after_each_take() -> None:
    meter = TickMeter()
    meter.ticked(0.5)
    meter.take()
    meter.ticked(0.0)
    assert meter.take() == TickReport(ticks=1, late_p99_ms=0, late_max_ms=0)


def test_early_tick_counts_as_on_time() -> None:
    assert report_of(-3) == TickReport(ticks=1, late_p99_ms=0, late_max_ms=0)
