from __future__ import annotations

import io

from rich.console import Console

from api.cli.progress import Progress, summary
from tests.api.cli.fake_server import RECORD


def printed(*events: tuple[str, dict[str, object]]) -> list[str]:
    out = io.StringIO()
    times = iter([100.0, 101.5, 163.25, 170.0])
    progress = Progress(Console(file=out, markup=False, width=80), clock=lambda: next(times))
    for name, data in events:
        progress.show(name, data)
    return out.getvalue().splitlines()


def test_status_is_printed_once_with_the_seconds_since_the_start() -> None:
    answered = {**RECORD, "status": "answered"}
    assert printed(("status", RECORD), ("status", RECORD), ("status", answered)) == [
        "   1.5 s  initiated",
        "  63.2 s  answered",
    ]


def test_corrected_turn_is_printed_again() -> None:
    said = {"ordinal": 3, "speaker": "Agent", "text": "One [b]two[/b] three", "truncated": False}
    assert printed(("transcript", said), ("transcript", {**said, "text": "One", "truncated": True})) == [
        "   1.5 s  Agent: One [b]two[/b] three",
        "  63.2 s  Agent: One (cut off)",
    ]


def test_summary_has_only_the_rows_that_are_known() -> None:
    table = summary({**RECORD, "status": "failed"})
    assert list(table.columns[0].cells) == ["call", "from, to", "status"]
