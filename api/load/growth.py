"""The cost of a call by the number of calls: one run for each number of a series, as figures and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from api.load.machine import machine
from api.load.plan import Plan

SERIES: Final = (1, 4, 10, 20, 40, 80, 120)
_KINDS: Final = ("all", "worker", "control")


def plan_of(calls: int) -> Plan:
    """A plan in which all calls are up before the window of the cost begins, and none ends in it."""
    return Plan(calls=calls, cps=max(2.0, calls / 6), seconds=18, call_s=60, sample_rate=8000)


def grow(plan_report: Callable[[Plan], dict[str, Any]], series: Sequence[int] = SERIES) -> dict[str, Any]:
    """The figures of each run; shares of the CPU are of one core, for one call."""
    return {"machine": machine(), "runs": [_figures(calls, plan_report(plan_of(calls))) for calls in series]}


def _figures(calls: int, report: Mapping[str, Any]) -> dict[str, Any]:
    shares, media = report["cost"]["cpu_s_per_call_s"], report["media"]
    return {
        "calls": calls,
        "cpu": {kind: shares.get(kind) for kind in _KINDS},
        "pss_mb_per_call": report["cost"]["pss_mb_per_call"],
        "spacing_p99_ms": media["spacing_error_ms"]["p99"],
        "loop_p50_ms": media["loop_ms"]["p50"],
        "loop_p95_ms": media["loop_ms"]["p95"],
        "lost": media["packets_lost"],
        "doubts": report["far_end"]["doubts"],
    }
