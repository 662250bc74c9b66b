from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.load.child import LoadFailed
from api.load.plan import SCENARIOS, Plan


@pytest.mark.parametrize(
    ("plan", "lasts_s"),
    [
        (Plan(calls=100, cps=5), 20.0),
        (Plan(calls=100, cps=50), 10.0),
        (Plan(calls=100, cps=50, call_s=3), 3.0),
    ],
)
def test_call_lasts_as_long_as_keeps_the_others_up(plan: Plan, lasts_s: float) -> None:
    assert plan.lasts_s == lasts_s


def test_ramp_ends_at_half_of_the_run_at_the_latest() -> None:
    assert Plan(calls=100, cps=10, seconds=60).ramp_s == 10
    assert Plan(calls=100, cps=1, seconds=60).ramp_s == 30


@pytest.mark.parametrize("wrong", [{"calls": 0}, {"cps": 0}, {"seconds": -1}, {"call_s": -1}])
def test_load_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LoadFailed, match="at least one call"):
        Plan(**wrong)


def test_scenario_is_a_name_or_a_file_and_a_wrong_one_is_answered_with_the_right_ones(tmp_path: Path) -> None:
    own = tmp_path / "own.xml"
    own.touch()
    assert Plan(scenario="answers").scenario_file() == SCENARIOS / "answers.xml"
    assert Plan(scenario=str(own)).scenario_file() == own
    with pytest.raises(LoadFailed, match="expected answers, answers-at-once, answers-pcma, or the path"):
        Plan(scenario="answer")
