"""The live display of a call: one line with its time for each change, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.table import Table

from api.cli.client import Record
from api.cli.screen import printable

_STYLES = {"answered": "green", "completed": "green", "failed": "red"}


class Progress:
    """Shows one call's events as they come (see ``Client.follow``)."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._started_s = clock()
        self._status = ""

    def show(self, event: str, data: Record) -> None:
        """Print a turn, or the status when it has changed."""
        if event == "transcript":
            text = f"{data['speaker']}: {data['text']}{' (cut off)' if data['truncated'] else ''}"
            self._print(text, "cyan" if data["speaker"] == "Agent" else "yellow")
        elif data["status"] != self._status:
            self._status = data["status"]
            self._print(self._status, _STYLES.get(self._status, "bold"))

    def _print(self, text: str, style: str) -> None:
        self._console.print(f"{self._clock() - self._started_s:6.1f} s  {printable(text)}", style=style)


def summary(record: Record) -> Table:
    """The facts of a call that is over."""
    ended, ai = record.get("ended") or {}, record.get("ai") or {}
    sip = ended.get("sip") or {}
    rows = {
        "call": f"{record['id']}  {record['callId']}",
        "from, to": f"{record['from']}, {record['to']}",
        "status": f"{record['status']}, {record['duration']} s",
        "ended": f"{ended['cause']}, by the {ended['by']}" if ended else "",
        "why": ended.get("detail", ""),
        "what to do": ended.get("hint", ""),
        "SIP": f"{sip['code']} {sip['reason']}" if sip else "",
        "agent": f"{ai['status']}, {ai['duration']} s, {ai.get('endReason', 'no end reason')}" if ai else "",
    }
    table = Table(box=box.SIMPLE, show_header=False)
    for name, value in rows.items():
        if value:
            table.add_row(name, printable(value))
    return table
