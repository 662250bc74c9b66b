"""The fixed set of runs behind the table of goals, its figures with their spread, and two results side by side."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from api.load.machine import machine
from api.load.plan import Plan

SCHEMA: Final = 1
_LIGHT: Final = Plan(calls=10, cps=5, seconds=40, call_s=8)
_FULL: Final = Plan(calls=100, cps=15, seconds=20, call_s=60)
RUNS: Final[Mapping[str, Plan]] = {
    "light": replace(_LIGHT, sample_rate=8000),
    "light16": replace(_LIGHT, sample_rate=16000, scenario="answers-at-once"),
    "hundred": replace(_FULL, sample_rate=8000),
    "hundred16": replace(_FULL, sample_rate=16000),
    "two_hundred": replace(_FULL, calls=200, cps=25, sample_rate=8000),
    "rate": Plan(calls=150, cps=50, seconds=8, call_s=2, plain=True),
}
"""Calls outlast their run, so that no set-up is in the window of the cost, except where set-up itself is measured.
Phones ring before they answer, and the agent's session is made meanwhile. In one run they do not: the worst case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: its place in a report and its goal. ``scale`` converts the report's value to the unit."""

    key: str
    title: str
    unit: str
    goal: str
    run: str
    path: tuple[str, ...]
    scale: float = 1.0

    def read(self, report: Mapping[str, Any]) -> float | None:
        """None when the report has no such figure; no sample of a gap is a gap of 0."""
        value: Any = report
        for step in self.path:
            if not isinstance(value, Mapping) or value.get(step) is None:
                return 0.0 if self.path[1] == "gaps_ms" else None
            value = value[step]
        return round(float(value) * self.scale, 4)


_CPU = ("cost", "cpu_s_per_call_s", "all")
_SPACING = ("media", "spacing_error_ms", "p99")
_GAPS = ("media", "gaps_ms", "p99")
_LOOP = ("media", "loop_ms")
_FIRST_AUDIO = ("setup_ms", "200_to_agent_audio", "p95")
ROWS: Final = (
    Row(key="cpu_8k", title="CPU of a core per AI call, 100 calls, 8 kHz", unit="%", goal="≤ 0.45", run="hundred",
        path=_CPU, scale=100),
    Row(key="cpu_16k", title="– 16 kHz to Ultravox", unit="%", goal="≤ 0.55", run="hundred16", path=_CPU, scale=100),
    Row(key="spacing_100", title="RTP spacing error p99, 100 calls", unit="ms", goal="≤ 5", run="hundred",
        path=_SPACING),
    Row(key="spacing_200", title="– 200 calls", unit="ms", goal="≤ 5", run="two_hundred", path=_SPACING),
    Row(key="lost_200", title="RTP packets lost, 200 calls", unit="", goal="0", run="two_hundred",
        path=("media", "packets_lost")),
    Row(key="gaps_100", title="gaps in the agent's speech p99, 100 calls", unit="ms", goal="0", run="hundred",
        path=_GAPS),
    Row(key="gaps_200", title="– 200 calls", unit="ms", goal="< 20", run="two_hundred", path=_GAPS),
    Row(key="loop_8k_p50", title="loop agent → RTP → echo → agent, 8 kHz, p50", unit="ms", goal="≤ 30", run="light",
        path=(*_LOOP, "p50")),
    Row(key="loop_8k_p95", title="– p95", unit="ms", goal="≤ 40", run="light", path=(*_LOOP, "p95")),
    Row(key="loop_16k_p50", title="– 16 kHz, p50", unit="ms", goal="≤ 35", run="light16", path=(*_LOOP, "p50")),
    Row(key="loop_16k_p95", title="– 16 kHz, p95", unit="ms", goal="≤ 45", run="light16", path=(*_LOOP, "p95")),
    Row(key="clear_p95", title="clear → first silent RTP, p95", unit="ms", goal="≤ 25", run="light",
        path=("media", "clear_to_silence_ms", "p95")),
    Row(key="invite_p95", title="POST → INVITE on the wire, p95, warm", unit="ms", goal="≤ 10", run="light",
        path=("setup_ms", "post_to_invite", "p95")),
    Row(key="first_audio_p95", title="200 OK → agent's first audio, p95", unit="ms", goal="≤ 40", run="light",
        path=_FIRST_AUDIO),
    Row(key="first_audio_unrung_p95", title="– when nothing rang: its session is made after the 200", unit="ms",
        goal="≤ 40", run="light16", path=_FIRST_AUDIO),
    Row(key="rate", title="call set-ups a second", unit="/s", goal="≥ 40", run="rate",
        path=("outcome", "answered_per_s")),
    Row(key="memory", title="workers' memory per AI call (PSS), 100 calls", unit="MB", goal="≤ 3", run="hundred",
        path=("cost", "pss_mb_per_call")),
)  # fmt: skip


def scaled(plan: Plan, scale: float) -> Plan:
    """A smaller plan for a quick look: fewer calls and less time, at the same rates."""
    calls, seconds = max(1, round(plan.calls * scale)), max(4.0, plan.seconds * scale)
    return replace(plan, calls=calls, seconds=seconds)


def result(reports: Sequence[Mapping[str, Mapping[str, Any]]], *, scale: float) -> dict[str, Any]:
    """The result of ``reports``, which has one mapping of ``RUNS``'s names to reports for each repeat."""
    values = {row.key: [row.read(repeat[row.run]) for repeat in reports if row.run in repeat] for row in ROWS}
    doubts = {
        f"{run}: {it}" for repeat in reports for run, report in repeat.items() for it in report["far_end"]["doubts"]
    }
    return {
        "schema": SCHEMA,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "repeats": len(reports),
        "scale": scale,
        "figures": {key: _spread([value for value in found if value is not None]) for key, found in values.items()},
        "doubts": sorted(doubts),
    }


def measure(plan_report: Callable[[str, Plan], dict[str, Any]], *, repeats: int, scale: float) -> dict[str, Any]:
    """Every run of the set, ``repeats`` times over; ``plan_report`` makes each run's report."""
    rounds = [{name: plan_report(name, scaled(plan, scale)) for name, plan in RUNS.items()} for _ in range(repeats)]
    return result(rounds, scale=scale)


def append(file: Path, one: Mapping[str, Any]) -> None:
    """Append a result to ``file`` as one line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as results:
        results.write(json.dumps(one, ensure_ascii=False) + "\n")


def last_two(file: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The newest result and the one before it; None when there are no two."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return (json.loads(lines[-2]), json.loads(lines[-1])) if len(lines) > 1 else None


def compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[Row, float, float, float | None]]:
    """Each figure that both results have, with its two medians and their ratio (now to before)."""
    for row in ROWS:
        old, new = before["figures"].get(row.key), now["figures"].get(row.key)
        if old and new:
            yield row, old["median"], new["median"], new["median"] / old["median"] if old["median"] else None


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return {"values": list(values), "median": statistics.median(values), "min": min(values), "max": max(values)}
