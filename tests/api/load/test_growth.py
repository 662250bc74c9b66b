from __future__ import annotations

from typing import Any

from api.load.growth import grow
from api.load.page import growth_plot
from api.load.plan import Plan
from api.load.report import make_report
from tests.api.load.evidence import evidence


def test_growth_is_a_run_for_each_number_of_calls_with_its_cost_and_a_plot_of_it() -> None:
    asked: list[Plan] = []

    def report(plan: Plan) -> dict[str, Any]:
        asked.append(plan)
        return make_report(evidence())

    growth = grow(report, (1, 40))
    assert [plan.calls for plan in asked] == [1, 40]
    assert all(plan.lasts_s > plan.seconds for plan in asked)
    assert [run["calls"] for run in growth["runs"]] == [1, 40]
    assert growth["runs"][0]["cpu"]["all"] > 0
    assert "AI calls at once" in growth_plot(growth)
