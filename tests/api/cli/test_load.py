from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from api.cli import load
from api.load.plan import Plan
from api.load.report import make_report
from tests.api.cli.conftest import Trunkline
from tests.api.load.evidence import evidence


@pytest.fixture
def _sipp() -> None:
    if shutil.which("sipp") is None and not os.environ.get("REQUIRE_SIP"):
        pytest.skip("sipp is not installed")


@pytest.mark.sip
@pytest.mark.usefixtures("_sipp")
def test_three_ai_calls_for_three_seconds_are_measured_at_their_far_ends(trunkline: Trunkline, tmp_path: Path) -> None:
    code, out, err = trunkline(
        *["load", "--calls", "3", "--cps", "10", "--seconds", "3", "--json", "load.json", "--html", "load.html"]
    )
    assert err == ""
    report = json.loads((tmp_path / "load.json").read_text())
    setup, media, outcome = report["setup_ms"], report["media"], report["outcome"]
    assert outcome["by_cause"] == {"completed: caller-hangup": 3}
    assert outcome["leaks"] == dict.fromkeys(("lines", "rtp_ports", "processes", "ports_after_stop"), 0)
    assert (media["streams"], media["packets_lost"], media["one_way_calls"]) == (3, 0, 0)
    assert media["packets_received"] == media["packets_sent_back"] > 300
    assert media["clarity_db"]["p50"] > 30
    assert [setup[name]["n"] for name in setup] == [3] * len(setup)
    assert all(spread["min"] > 0 for spread in setup.values())
    assert report["cost"]["cpu_s_per_call_s"]["worker"] > 0
    assert report["far_end"]["agent_faults"] == []
    assert "POST → INVITE" in out
    assert "<svg" in (tmp_path / "load.html").read_text()
    assert code in (0, 1)  # a busy machine may break a bound of quality


@pytest.mark.sip
@pytest.mark.usefixtures("_sipp")
def test_plain_calls_have_no_agent(trunkline: Trunkline, tmp_path: Path) -> None:
    _, out, err = trunkline(
        *["load", "--plain", "--calls", "2", "--cps", "10", "--seconds", "1", "--json", "load.json"]
    )
    assert err == ""
    report = json.loads((tmp_path / "load.json").read_text())
    assert report["outcome"]["by_cause"] == {"completed: caller-hangup": 2}
    assert (report["media"]["streams"], report["media"]["one_way_calls"]) == (2, 0)
    assert report["media"]["loop_ms"] == {"n": 0}
    assert "RTP spacing error" in out


def test_missing_sipp_is_reported_with_its_package(trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert trunkline("load") == (
        1,
        "",
        "trunkline: SIPp, the far end of a load, is not installed. On Debian: apt-get install sip-tester.\n",
    )


def test_unknown_scenario_is_answered_with_the_known_ones(trunkline: Trunkline) -> None:
    code, _, err = trunkline("load", "--scenario", "busy")
    assert code == 1
    assert "expected answers, answers-at-once, answers-pcma" in err


def test_limit_is_named_with_the_bound_that_broke_and_its_report_is_of_what_held(
    trunkline: Trunkline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(plan: Plan, _: object = None) -> dict[str, Any]:
        gathered = evidence()
        gathered.plan = plan
        gathered.kernel_drops = int(plan.calls > 13)
        return make_report(gathered)

    monkeypatch.setattr(load, "measured", measured)
    code, out, _ = trunkline("load", "--find-limit", "--calls", "4", "--json", "load.json")
    assert code == 0
    assert (
        "13 calls hold. At 14: the measuring side gave out first (the kernel dropped 1 packets at the far end)." in out
    )
    report = json.loads((tmp_path / "load.json").read_text())
    assert (report["plan"]["calls"], report["limit"]["holds"], report["limit"]["breaks"]) == (13, 13, 14)


def test_page_is_asked_for_in_vain_without_matplotlib_before_the_run(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "api.load.page", None)
    code, out, err = trunkline("load", "--html", "load.html")
    assert (code, out) == (1, "")
    assert "pip install trunkline[load]" in err
