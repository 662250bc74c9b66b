"""``trunkline bench``: the fixed set of runs, its table on screen, its result appended to a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from api.cli.failure import CommandFailed
from api.cli.load import measured
from api.cli.screen import console
from api.load.bench import ROWS, append, compared, last_two, measure
from api.load.growth import grow
from api.load.plan import Plan


def bench(results: Path, *, repeats: int, scale: float) -> None:
    """Measure, show, and append to ``results``."""
    screen = console()

    def report(name: str, plan: Plan) -> dict[str, Any]:
        screen.print(f"{name}: {plan.calls} {'plain' if plan.plain else 'AI'} calls, {plan.seconds:g} s", style="dim")
        return measured(plan)

    result = measure(report, repeats=repeats, scale=scale)
    append(results, result)
    screen.print(_table(result))
    for doubt in result["doubts"]:
        screen.print(f"DOUBT: {doubt}.", style="red")
    screen.print(f"Appended to {results}. {_where(result)}.")


def growth(folder: Path) -> None:
    """Measure a call's cost with more and more calls; leaves ``growth.json`` and ``growth.svg`` in ``folder``."""
    screen = console()

    def report(plan: Plan) -> dict[str, Any]:
        screen.print(f"{plan.calls} AI calls", style="dim")
        return measured(plan)

    found = grow(report)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_text(json.dumps(found, indent=1) + "\n")
    table = Table(
        "calls", "% of a core per call", "MB per call", "spacing p99, ms", "loop p50 / p95, ms", box=box.SIMPLE
    )
    for run in found["runs"]:
        cells = (run["calls"], f"{100 * run['cpu']['all']:.2f}", run["pss_mb_per_call"], run["spacing_p99_ms"])
        table.add_row(*map(str, cells), f"{run['loop_p50_ms']} / {run['loop_p95_ms']}")
    screen.print(table)
    for doubt in {doubt for run in found["runs"] for doubt in run["doubts"]}:
        screen.print(f"DOUBT: {doubt}.", style="red")
    from api.load.page import growth_plot  # needs matplotlib

    (folder / "growth.svg").write_text(growth_plot(found))


def compare(results: Path) -> None:
    """Show the last two results side by side."""
    pair = last_two(results)
    if pair is None:
        raise CommandFailed(f"There are no two results in {results}: `trunkline bench` appends one.")
    before, now = pair
    table = Table("", "before", "now", "unit", "now / before", box=box.SIMPLE)
    for row, old, new, ratio in compared(before, now):
        table.add_row(row.title, f"{old:g}", f"{new:g}", row.unit, f"{ratio:.2f}" if ratio is not None else "–")
    console().print(table)
    for name, one in (("before", before), ("now", now)):
        console().print(f"{name}: {one['at']}, {_where(one)}")
    if before["machine"]["cpu"] != now["machine"]["cpu"] or before["scale"] != now["scale"]:
        console().print("They are not of the same machine and scale: the ratios say little.", style="red")


def _table(result: Mapping[str, Any]) -> Table:
    table = Table("", "goal", "median", "min – max", "unit", box=box.SIMPLE)
    for row in ROWS:
        found = result["figures"][row.key]
        shown = (f"{found['median']:g}", f"{found['min']:g} – {found['max']:g}") if found else ("–", "")
        table.add_row(row.title, row.goal, *shown, row.unit)
    return table


def _where(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    return f"commit {machine['commit']}, {machine['cores']} cores of {machine['cpu']}, {result['repeats']} repeats"
