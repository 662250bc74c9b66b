"""``trunkline load``: a load run with live figures, its report on screen and in files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.progress import Progress

from api.cli.failure import CommandFailed
from api.cli.keys import add_key
from api.cli.load_screen import final_table, live_table
from api.cli.screen import console
from api.load.limit import broken_bound, find_limit
from api.load.plan import Plan, Running
from api.load.report import make_report
from api.load.run import Sample, run
from engine.config.settings import Config
from engine.records import Environment

_KEY_VALID = timedelta(days=1)
_NO_LIMIT = 1e6
"""Requests per second."""
_RAMP_S = 10.0
_MOST_CALLS = 1000


def load(
    plan: Plan, *, running: Running | None, find: bool = False, json_file: Path | None, html_file: Path | None
) -> bool:
    """Run the load, show it, write the files; True when no bound of quality broke and nothing was left over."""
    write_page = _page_writer() if html_file is not None else None
    report = _search(plan, running) if find else measured(plan, running)
    console().print(final_table(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    if html_file is not None and write_page is not None:
        html_file.write_text(write_page(report))
    if bound := broken_bound(report):
        console().print(f"Not good: {bound}.", style="red")
    return bound is None and not any(report["outcome"]["leaks"].values())


def measured(plan: Plan, running: Running | None = None) -> dict[str, Any]:
    """The report of one run, shown live while it is under way."""
    screen = console()
    progress = Progress(console=screen)
    task = progress.add_task(f"{plan.calls} {'plain' if plan.plain else 'AI'} calls", total=plan.seconds)
    with Live(progress, console=screen, transient=True, refresh_per_second=4) as live:

        def watch(sample: Sample) -> None:
            progress.update(task, completed=min(plan.seconds, sample.after_s))
            live.update(live_table(sample, progress))

        return make_report(asyncio.run(run(plan, _make_key, watch, running=running)))


def _search(plan: Plan, running: Running | None) -> dict[str, Any]:
    """Raise the calls until quality breaks; returns the report of the most that held, else of the first that failed."""
    reports: dict[int, dict[str, Any]] = {}

    def breaks_at(calls: int) -> str | None:
        reports[calls] = measured(replace(plan, calls=calls, cps=max(plan.cps, calls / _RAMP_S)), running)
        bound = broken_bound(reports[calls])
        console().print(f"{calls} calls: {bound or 'good'}")
        return bound

    limit = find_limit(breaks_at, first=plan.calls, most=_MOST_CALLS)
    console().print(str(limit), style="bold")
    return {**reports[limit.holds or limit.breaks], "limit": asdict(limit)}


def _page_writer() -> Callable[[Mapping[str, Any]], str]:
    """Imported before the run, so that an hour of load does not end with a missing library."""
    try:
        from api.load.page import page
    except ImportError:
        raise CommandFailed(
            "--html draws with matplotlib, which is not installed: pip install trunkline[load]."
        ) from None
    return page


async def _make_key(config: Config) -> str:
    secret, _ = await add_key(config, Environment.LIVE, "trunkline load", _KEY_VALID, rate_per_s=_NO_LIMIT)
    return secret
