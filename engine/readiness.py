"""Whether a new call would be accepted, and the state of each part that decides it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from engine.environments.backend import Backend
from engine.metrics import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether a new call would be accepted, and one sentence on each part."""

    ready: bool
    checks: Mapping[str, str]


def judge(backend: Backend, *, used: int, refusals: Counter[str], writable: bool, draining: bool) -> Readiness:
    """Judge one environment. ``used``: its lines in use; ``refusals``: requests that the guard refused, by rule."""
    pool, health = backend.pool, backend.trunks.health()
    checks = {f"trunk {name}": str(state) for name, state in health.items()}
    checks["lines"] = f"{used} of {pool.max_calls} in use" + ("" if pool.ready else ", none warm")
    if beats := pool.heartbeats.values():
        p99_ms, max_ms = max(beat.late_p99_ms for beat in beats), max(beat.late_max_ms for beat in beats)
        checks["media clock"] = f"late by {p99_ms:.1f} ms (p99), {max_ms:.1f} ms at most, in the last second" + (
            "" if pool.real_time else "; without real-time scheduling"
        )
    if refusals:
        checks["refused calls"] = ", ".join(f"{count} by {rule}" for rule, count in refusals.most_common())
    checks["store"] = "written" if writable else "cannot be written: disk full or database locked?"
    checks["engine"] = "shutting down" if draining else "running"
    trunk_up = any(state.up for state in health.values())
    line_free = used < pool.max_calls and (pool.ready or used > 0)
    return Readiness(ready=trunk_up and line_free and writable and not draining, checks=checks)


def standing(backend: Backend, *, used: int, refusals: Mapping[str, int]) -> Standing:
    """The current state of one environment, as figures for the metrics."""
    return Standing(
        lines=used,
        lines_limit=backend.pool.max_calls,
        tick_late_s=max((beat.late_max_ms for beat in backend.pool.heartbeats.values()), default=0.0) / 1000,
        trunks={name: health.up for name, health in backend.trunks.health().items()},
        refusals=refusals,
    )
