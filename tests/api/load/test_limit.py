from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from api.load.limit import Limit, broken_bound, find_limit

GOOD: Mapping[str, Any] = {
    "media": {
        "packets_received": 10_000,
        "packets_lost": 0,
        "spacing_error_ms": {"n": 10, "p99": 1.0},
        "gaps_ms": {"n": 0},
        "one_way_calls": 0,
    },
    "outcome": {"placed": 3, "by_cause": {"completed: caller-hangup": 3}},
    "far_end": {"doubts": []},
}


def changed(part: str, **members: Any) -> Mapping[str, Any]:
    return {**GOOD, part: {**GOOD[part], **members}}


def test_good_run_breaks_no_bound() -> None:
    assert broken_bound(GOOD) is None


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (changed("outcome", by_cause={"completed: caller-hangup": 2, "failed: busy": 1}), "1 of 3 calls failed"),
        (changed("media", one_way_calls=2), "2 calls were one-way"),
        (changed("media", spacing_error_ms={"p99": 7.25}), "spacing error p99 7.2 ms, the bound is 5 ms"),
        (changed("media", gaps_ms={"p99": 40.0}), "gaps in the agent's speech p99 40 ms"),
        (changed("media", packets_lost=50), "0.50% of RTP packets lost"),
        (changed("far_end", doubts=["late"]), "the measuring side gave out first (late)"),
    ],
)
def test_bound_that_broke_is_named(report: Mapping[str, Any], words: str) -> None:
    assert words in (broken_bound(report) or "")


def test_a_kit_that_gave_out_is_named_before_what_it_believes_to_have_seen() -> None:
    report = {**changed("media", one_way_calls=2), "far_end": {"doubts": ["late"]}}
    assert "the measuring side gave out first (late)" in (broken_bound(report) or "")


@pytest.mark.parametrize("truth", [1, 7, 64, 100, 777])
def test_limit_is_found_to_a_tenth(truth: int) -> None:
    tried = []

    def breaks_at(calls: int) -> str | None:
        tried.append(calls)
        return "late" if calls > truth else None

    limit = find_limit(breaks_at, first=4, most=1000)
    assert limit.holds <= truth < limit.breaks
    assert limit.breaks - limit.holds <= max(1, 0.1 * limit.breaks)
    assert len(tried) < 15
    assert str(limit) == f"{limit.holds} calls hold. At {limit.breaks}: late."


def test_search_that_never_breaks_ends_at_the_most() -> None:
    assert find_limit(lambda _: None, first=300, most=1000) == Limit(holds=1000, breaks=0, bound="")
