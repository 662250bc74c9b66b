from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from engine.metrics import Metrics, Standing
from engine.outcome import CALLEE_HANGUP
from engine.records import Status
from engine.sip.causes import refusal
from tests.engine.samples import call_record

AT = datetime(2026, 3, 9, tzinfo=UTC)
CALL = call_record(status=Status.FAILED, created_at=AT, ended_at=AT)


def standing() -> Standing:
    return Standing(
        lines=2, lines_limit=8, tick_late_s=0.0015, trunks={"main": True, "old": False}, refusals={"countries": 3}
    )


def test_ended_calls_are_counted_by_cause_and_timed_as_far_as_they_came() -> None:
    metrics = Metrics(standing)
    metrics.ended(replace(CALL, outcome=refusal(486, "Busy Here"), ringing_at=AT + timedelta(seconds=2)))
    metrics.ended(
        replace(
            CALL,
            status=Status.COMPLETED,
            outcome=CALLEE_HANGUP,
            ringing_at=AT + timedelta(seconds=1),
            answered_at=AT + timedelta(seconds=4),
            ended_at=AT + timedelta(seconds=34),
        )
    )
    metrics.ended(replace(CALL, outcome=refusal(486, "Busy Here")))
    told = metrics.exposition().decode().splitlines()
    assert 'trunkline_calls_total{cause="busy",status="failed",trunk="main"} 2.0' in told
    assert 'trunkline_calls_total{cause="callee-hangup",status="completed",trunk="main"} 1.0' in told
    assert 'trunkline_post_dial_delay_seconds_sum{trunk="main"} 3.0' in told
    assert 'trunkline_answer_seconds_sum{trunk="main"} 4.0' in told
    assert 'trunkline_call_duration_seconds_bucket{le="30.0",trunk="main"} 1.0' in told
    assert not any("6f0c" in line or "1415" in line for line in told)


def test_gauges_are_as_things_stand_when_they_are_asked_for() -> None:
    told = Metrics(standing).exposition().decode().splitlines()
    for line in (
        "trunkline_lines_in_use 2.0",
        "trunkline_lines_limit 8.0",
        "trunkline_tick_late_seconds 0.0015",
        'trunkline_trunk_up{trunk="main"} 1.0',
        'trunkline_trunk_up{trunk="old"} 0.0',
        'trunkline_rejected_total{rule="countries"} 3.0',
    ):
        assert line in told
