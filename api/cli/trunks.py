"""``trunkline trunks``: what the running server says of its trunks."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from api.cli.call import usable_key
from api.cli.client import Client, url_of
from api.cli.screen import console, printable
from engine.config.file import load_config
from engine.records import Environment

_KEY_VALID = timedelta(minutes=1)


def show(path: Path | None, *, key: str | None, url: str | None) -> bool:
    """Print every trunk; True when at least one takes calls."""
    config = load_config(path, os.environ)
    environment = Environment.LIVE if config.trunks else Environment.TEST

    async def read() -> list[dict[str, Any]]:
        async with (
            usable_key(config, key, environment, "trunkline trunks", _KEY_VALID) as usable,
            Client(url or url_of(config.http), usable) as client,
        ):
            return await client.trunks()

    trunks = asyncio.run(read())
    table = Table("trunk", "state", "registration", "probe", "calls", "per second", "priority", box=box.SIMPLE)
    for trunk in trunks:
        table.add_row(
            trunk["name"],
            printable(trunk["state"]),
            _registration(trunk.get("registration")),
            _probe(trunk.get("probe")),
            f"{trunk['calls']}{_limit(trunk.get('maxCalls'))}",
            f"{trunk.get('callsPerSecond', '–')}",
            f"{trunk['priority']}, weight {trunk['weight']}",
        )
    screen = console()
    screen.print(table)
    for trunk in trunks:
        if hint := trunk.get("registration", {}).get("hint"):
            screen.print(f"{trunk['name']}: {hint}")
    return any(trunk["up"] for trunk in trunks)


def _registration(registration: dict[str, Any] | None) -> str:
    if registration is None:
        return "none"
    until = f", renewed before {_time(registration['expiresAt'])}" if "expiresAt" in registration else ""
    return f"{registration['state']} since {_time(registration['since'])}{until}"


def _probe(probe: dict[str, Any] | None) -> str:
    if probe is None:
        return "–"
    said = f"{probe['sip']['code']} {probe['sip']['reason']}" if "sip" in probe else "not sent"
    return printable(f"{said}, {_time(probe['at'])}")


def _limit(limit: int | None) -> str:
    return "" if limit is None else f" of {limit}"


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone():%H:%M:%S}"
