"""How many calls go with a worker, and how many workers there are."""

from __future__ import annotations

import tomllib

import pytest

from engine.config.settings import SipConfig
from engine.environments.worker_plan import WorkerPlan


@pytest.mark.parametrize(
    ("sip", "lines", "workers"),
    [
        pytest.param("", 4, 10, id="the default: a lost worker takes four calls of 32"),
        pytest.param("max_calls = 4", 4, 3, id="fewer than that no worker holds"),
        pytest.param("max_calls = 60", 8, 10, id="a sixth of the calls is ten"),
        pytest.param("max_calls = 100", 16, 9, id="as many as it may"),
        pytest.param("max_calls = 400", 16, 27, id="and no more"),
        pytest.param("max_calls = 100\nlines_per_worker = 8", 8, 15, id="or as few as are wanted"),
        pytest.param("max_calls = 100\nlines_per_worker = 7", 4, 27, id="in whole instances of PJSIP"),
    ],
)
def test_a_worker_holds_many_lines_where_many_are_wanted(sip: str, lines: int, workers: int) -> None:
    plan = WorkerPlan.of(SipConfig.model_validate(tomllib.loads(sip)))
    assert (plan.lines, plan.workers) == (lines, workers)
