from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from api.load.report import SCHEMA, Call, make_report, match, one_way, problems
from tests.api.load.evidence import LASTS_NS, MS, evidence, signalling
from tests.api.load.traces import START_NS, silent, stream


def test_report_of_a_good_run_has_the_figures_that_were_put_in() -> None:
    report = make_report(evidence())
    assert json.loads(json.dumps(report)) == report
    setup, media, cost = report["setup_ms"], report["media"], report["cost"]
    assert setup["post"]["p50"] == 4
    assert setup["post_to_invite"]["p50"] == 10
    assert setup["invite_to_180"]["p50"] == 2
    assert setup["180_to_200"]["p50"] == 129
    assert setup["200_to_rtp"]["p50"] == 9
    assert setup["200_to_agent_audio"]["p50"] == 109
    assert (media["packets_received"], media["packets_lost"], media["one_way_calls"]) == (600, 0, 0)
    assert (media["gaps_ms"], media["spacing_error_ms"]["max"]) == ({"n": 0}, 0)
    assert (media["loop_ms"]["n"], media["loop_ms"]["p50"], media["clicks_lost"]) == (6, 25, 0)
    # 4 s of the run less its ramp, with 0.02 s of CPU and 100 switches each: 3 calls answered 190 ms after its begin.
    assert cost["call_seconds"] == pytest.approx(9)
    assert cost["cpu_s_per_call_s"]["worker"] == pytest.approx(0.06 / 9, abs=1e-6)
    assert cost["switches_per_call_s"] == pytest.approx(300 / 9, abs=0.01)
    assert cost["pss_mb_per_call"] == 3
    assert report["outcome"]["by_cause"] == {"completed: caller-hangup": 3}
    assert report["far_end"]["doubts"] == []


def test_members_of_the_report_keep_their_names() -> None:
    """Programs read it: a name that goes or changes its meaning counts SCHEMA up."""
    report = make_report(evidence())
    members = {part: " ".join(value) for part, value in report.items() if isinstance(value, dict)}
    assert (SCHEMA, list(report)) == (
        1,
        ["schema", "at", "plan", "machine", "setup_ms", "media", "cost", "outcome", "far_end", "series"],
    )
    assert members["setup_ms"] == "post post_to_invite invite_to_180 180_to_200 200_to_rtp 200_to_agent_audio"
    assert members["media"] == (
        "streams packets_received packets_sent_back packets_lost spacing_error_ms worst_call_spacing_p99_ms gaps_ms "
        "gap_share one_way_calls loop_ms clicks_lost clear_to_silence_ms clarity_db engine_underruns"
    )
    assert members["cost"] == (
        "window_s call_seconds cpu_s_per_call_s switches_per_call_s pss_mb idle_pss_mb pss_mb_per_call processes "
        "descriptors"
    )
    assert members["outcome"] == (
        "placed answered_per_s most_at_once by_cause problems invites_resent complaints leaks"
    )


def test_run_that_gathered_nothing_still_has_a_report() -> None:
    empty = evidence()
    empty.samples, empty.calls, empty.signalling, empty.agent = empty.samples[:1], [], {}, {}
    empty.packets = empty.packets[:0]
    report = make_report(empty)
    assert report["cost"] == {}
    assert report["setup_ms"]["post"] == {"n": 0}
    assert json.dumps(report)


def test_far_end_that_was_itself_too_slow_is_doubted() -> None:
    slow = evidence()
    slow.kernel_drops = 3
    slow.packets["echoed_ns"] += 50 * MS
    slow.agent = {**slow.agent, "late_p99_ms": 99.0}
    slow.driver_late_ms = [500.0]
    assert len(make_report(slow)["far_end"]["doubts"]) == 4


def test_failed_calls_are_reported_with_their_problems_the_most_common_first() -> None:
    failed = {"status": "failed", "ended": {"cause": "busy", "detail": "The callee is busy."}}
    calls = evidence().calls
    placed = [replace(calls[0], record=failed), replace(calls[1], problem="No line."), replace(calls[2], record=failed)]
    assert problems(placed) == ["The callee is busy.", "No line."]
    assert problems(calls) == []


def test_port_that_served_two_calls_gives_each_its_own_stream() -> None:
    twice = evidence()
    later_ns = START_NS + LASTS_NS + 100 * MS
    twice.calls = twice.calls[:2]
    moved = replace(signalling(0), invite_ns=later_ns - 140 * MS, answered_ns=later_ns, bye_ns=later_ns + LASTS_NS)
    twice.signalling = {"CA0": signalling(0), "CA1": moved}
    twice.packets = np.concatenate((stream(200, port=5000, ssrc=1), stream(100, port=5000, ssrc=2, start_ns=later_ns)))
    assert [call.stream.received for call in match(twice) if call.stream] == [200, 100]


def change(**changes: Any) -> Call:
    return replace(match(evidence())[0], **changes)


@pytest.mark.parametrize(
    ("call", "plain", "is_one_way"),
    [
        (change(), False, False),
        (change(stream=None), False, True),
        (change(stream=None), True, True),
        (change(talk=None), False, True),
        (change(talk=None), True, False),
        (change(talk={"frames_heard": 0, "clicks_ns": [], "loops_ms": []}), False, True),
        (change(talk={"frames_heard": 9, "clicks_ns": [1, 2], "loops_ms": []}), False, True),
        (change(talk={"frames_heard": 9, "clicks_ns": [], "loops_ms": []}), False, False),
        (change(signalling=None), False, False),
        (change(signalling=replace(signalling(0), bye_ns=START_NS), stream=None), False, False),
    ],
)
def test_call_is_one_way_when_a_side_heard_nothing(call: Call, plain: bool, is_one_way: bool) -> None:
    assert one_way(call, plain=plain, end_ns=START_NS + LASTS_NS) is is_one_way


def test_agent_whose_voice_never_came_is_a_one_way_call() -> None:
    mute = evidence()
    mute.packets = silent(stream(200, port=5000), range(200))
    assert make_report(mute)["media"]["one_way_calls"] == 3
