from __future__ import annotations

from pathlib import Path
from typing import Any

from api.load.bench import ROWS, RUNS, append, compared, last_two, measure, scaled
from api.load.plan import Plan
from api.load.report import make_report
from tests.api.load.evidence import evidence


def test_every_row_reads_a_run_of_the_set_and_keys_are_told_apart() -> None:
    assert {row.run for row in ROWS} == set(RUNS)
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_result_has_each_figure_with_its_spread_over_the_repeats() -> None:
    asked: list[tuple[str, Plan]] = []

    def report(name: str, plan: Plan) -> dict[str, Any]:
        asked.append((name, plan))
        made = make_report(evidence(plain=plan.plain))
        made["cost"]["pss_mb_per_call"] = float(len(asked))
        return made

    result = measure(report, repeats=2, scale=0.1)
    assert [name for name, _ in asked] == [*RUNS, *RUNS]
    assert asked[2][1].calls == 10
    hundred = list(RUNS).index("hundred") + 1
    memory = result["figures"]["memory"]
    assert memory == {
        "values": [hundred, hundred + len(RUNS)],
        "median": hundred + len(RUNS) / 2,
        "min": hundred,
        "max": hundred + len(RUNS),
    }
    assert result["figures"]["cpu_8k"]["median"] == 0.6667
    assert result["figures"]["gaps_100"]["median"] == 0
    assert result["figures"]["clear_p95"] is None
    assert set(result["machine"]) >= {"cpu", "cores", "kernel", "python", "pjsua2", "commit"}


def test_smaller_set_keeps_its_rates() -> None:
    small = scaled(RUNS["two_hundred"], 0.1)
    assert (small.calls, small.cps, small.seconds) == (20, RUNS["two_hundred"].cps, 4)


def test_last_two_results_are_compared_where_both_have_the_figure(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "results.jsonl"
    assert last_two(file) is None
    for median in (9.0, 4.0, 2.0):
        append(file, {"figures": {"memory": {"median": median}, "lost_200": {"median": 0}, "rate": None}})
    pair = last_two(file)
    assert pair is not None
    shown = {row.key: (old, new, ratio) for row, old, new, ratio in compared(*pair)}
    assert shown == {"memory": (4.0, 2.0, 0.5), "lost_200": (0, 0, None)}
