"""Metrics for Prometheus: counters and times of ended calls, and gauges of the current state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.records import CallRecord

_RING_S = (0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60)
_TALK_S = (5, 15, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The current state of one environment."""

    lines: int
    lines_limit: int
    tick_late_s: float
    """The lateness of the latest tick of the last second."""
    trunks: Mapping[str, bool]
    """Whether each trunk can take a call, by name."""
    refusals: Mapping[str, int]
    """Requests that the guard refused, by rule."""


class Metrics(Collector):
    """One environment's metrics. Labels are trunks, causes and rules; never a number or the id of a call.

    ``standing`` is called at each exposition.
    """

    def __init__(self, standing: Callable[[], Standing]) -> None:
        self._standing = standing
        self._registry = CollectorRegistry()
        self._ended = Counter(
            "trunkline_calls",
            "Calls that ended, by status and cause.",
            ("trunk", "status", "cause"),
            registry=self._registry,
        )
        self._ringing = Histogram(
            "trunkline_post_dial_delay_seconds",
            "From the accepted request to ringing.",
            ("trunk",),
            buckets=_RING_S,
            registry=self._registry,
        )
        self._answer = Histogram(
            "trunkline_answer_seconds",
            "From the accepted request to the answer.",
            ("trunk",),
            buckets=_RING_S,
            registry=self._registry,
        )
        self._talk = Histogram(
            "trunkline_call_duration_seconds",
            "From the answer to the end.",
            ("trunk",),
            buckets=_TALK_S,
            registry=self._registry,
        )
        self._registry.register(self)

    def ended(self, call: CallRecord) -> None:
        """Count a call that is final."""
        assert call.outcome is not None
        assert call.ended_at is not None
        self._ended.labels(call.trunk, call.status.value, call.outcome.cause.value).inc()
        if call.ringing_at is not None:
            self._ringing.labels(call.trunk).observe((call.ringing_at - call.created_at).total_seconds())
        if call.answered_at is not None:
            self._answer.labels(call.trunk).observe((call.answered_at - call.created_at).total_seconds())
            self._talk.labels(call.trunk).observe((call.ended_at - call.answered_at).total_seconds())

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """The gauges (prometheus_client's name)."""
        now = self._standing()
        lines = GaugeMetricFamily("trunkline_lines_in_use", "Calls that are live.", now.lines)
        limit = GaugeMetricFamily("trunkline_lines_limit", "Calls that may be live at once.", now.lines_limit)
        late = GaugeMetricFamily("trunkline_tick_late_seconds", "The latest tick of the last second.", now.tick_late_s)
        up = GaugeMetricFamily("trunkline_trunk_up", "1 while the trunk can take calls.", labels=("trunk",))
        for name, is_up in now.trunks.items():
            up.add_metric((name,), is_up)
        refused = CounterMetricFamily("trunkline_rejected", "Requests that the guard refused.", labels=("rule",))
        for rule, count in now.refusals.items():
            refused.add_metric((rule,), count)
        return (lines, limit, late, up, refused)
