"""Finds the most calls with good quality: raises the load until a bound of quality breaks, then narrows it down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

SPACING_P99_MS: Final = 5.0
GAP_P99_MS: Final = 20.0
LOST_SHARE: Final = 0.001
NARROW: Final = 0.1
"""The search ends when the number is known to a tenth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """``holds`` calls held; ``breaks`` did not, because of ``bound``. ``breaks`` is 0 when the search never broke."""

    holds: int
    breaks: int
    bound: str

    def __str__(self) -> str:
        if not self.breaks:
            return f"{self.holds} calls hold; more were not tried."
        return f"{self.holds} calls hold. At {self.breaks}: {self.bound}."


def broken_bound(report: Mapping[str, Any]) -> str | None:
    """The first bound that a run broke, in words; None when its quality was good."""
    media, outcome = report["media"], report["outcome"]
    failed = sum(count for cause, count in outcome["by_cause"].items() if not cause.startswith("completed"))
    spacing_ms, gap_ms = media["spacing_error_ms"].get("p99", 0.0), media["gaps_ms"].get("p99", 0.0)
    doubts = report["far_end"]["doubts"]
    lost = media["packets_lost"] / max(1, media["packets_received"])
    bounds = (
        (bool(doubts), f"the measuring side gave out first ({'; '.join(doubts)})"),
        (failed > 0, f"{failed} of {outcome['placed']} calls failed"),
        (media["one_way_calls"] > 0, f"{media['one_way_calls']} calls were one-way"),
        (spacing_ms > SPACING_P99_MS, f"RTP spacing error p99 {spacing_ms:.1f} ms, the bound is {SPACING_P99_MS:g} ms"),
        (gap_ms > GAP_P99_MS, f"gaps in the agent's speech p99 {gap_ms:.0f} ms, the bound is {GAP_P99_MS:g} ms"),
        (lost > LOST_SHARE, f"{lost:.2%} of RTP packets lost, the bound is {LOST_SHARE:.1%}"),
    )
    return next((words for broken, words in bounds if broken), None)


def find_limit(breaks_at: Callable[[int], str | None], *, first: int, most: int) -> Limit:
    """Double from ``first`` up to ``most`` until ``breaks_at`` names a bound, then halve the interval."""
    holds, calls, breaks, bound = 0, first, 0, ""
    while not breaks and holds < most:
        if words := breaks_at(calls):
            breaks, bound = calls, words
        else:
            holds, calls = calls, min(2 * calls, most)
    while breaks - holds > max(1, NARROW * breaks):
        middle = (holds + breaks) // 2
        if words := breaks_at(middle):
            breaks, bound = middle, words
        else:
            holds = middle
    return Limit(holds=holds, breaks=breaks, bound=bound)
