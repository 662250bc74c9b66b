"""How fast GET and lists are over a million calls: fills the table, serves it with ``trunkline serve``, and measures.

`python -m tests.sip.tools.million_calls --calls 1000000` prints a table; it takes a minute or two and a gigabyte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

from engine.outcome import Cause, Outcome, Party
from engine.records import AgentSettings
from tests.sip.server import ServerProcess
from tests.sip.tools.http_flood import Connection

BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
APART: Final = timedelta(seconds=30)
OUR_NUMBERS: Final = [f"+1415555{number:04}" for number in range(3)]
"""Few, as a company has: each is in a third of all calls."""
THEIR_NUMBERS: Final = 200_000
_OUTCOME: Final = json.dumps(asdict(Outcome(by=Party.CALLEE, cause=Cause.BUSY, detail="The callee is busy.")))
_AGENT: Final = json.dumps(asdict(AgentSettings(system_prompt="You are a friendly receptionist. " * 30)))


def fill(database: Path, calls: int) -> list[str]:
    """Calls of the live environment, half of them with an agent; some of their ids."""
    rng = random.Random(1)
    ids = [str(UUID(int=rng.getrandbits(128), version=4)) for _ in range(calls)]
    with closing(sqlite3.connect(database, isolation_level=None)) as file:
        file.execute("PRAGMA synchronous = OFF")
        indexes = file.execute(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'calls' AND sql LIKE 'CREATE INDEX%'"
        ).fetchall()
        for name, _ in indexes:  # a sorted index is built in a tenth of the time
            file.execute(f"DROP INDEX {name}")
        file.execute("BEGIN")
        file.executemany(
            "INSERT INTO calls (id, sip_call_id, environment, status, from_number, to_number, metadata, agent, "
            "provider, trunk, created_at, ended_at, outcome, ai_status, ai_ended_at) "
            "VALUES (?, ?, 'live', ?, ?, ?, '{}', ?, 'sip', 'main', ?, ?, ?, ?, ?)",
            _rows(ids, rng),
        )
        file.execute("COMMIT")
        for _, sql in indexes:
            file.execute(sql)
    return rng.sample(ids, min(calls, 2000))


def their_number(number: int) -> str:
    return f"+1212{number:07}"


def _rows(ids: list[str], rng: random.Random) -> Iterator[tuple[str | None, ...]]:
    for number, call_id in enumerate(ids):
        at = (BEGAN + number * APART).strftime("%Y-%m-%d %H:%M:%S.%f")
        ai = number % 2 == 0
        yield (
            call_id,
            f"CA{call_id.replace('-', '')}",
            "failed" if rng.random() < 0.2 else "completed",
            rng.choice(OUR_NUMBERS),
            their_number(rng.randrange(THEIR_NUMBERS)),
            _AGENT if ai else None,
            at,
            at,
            _OUTCOME,
            "ended" if ai else None,
            at if ai else None,
        )


async def measure(name: str, connection: Connection, requests: int, path: Callable[[], str]) -> None:
    """One line: how long ``requests`` of them took, one after another."""
    took_ms = []
    for _ in range(requests):
        asked_s = time.monotonic()
        status, _ = await connection.get(path())
        took_ms.append((time.monotonic() - asked_s) * 1000)
        assert status == 200
    p50, p99 = statistics.median(took_ms), statistics.quantiles(took_ms, n=100)[98]
    print(f"{name:55} {p50:8.1f} {p99:8.1f} {max(took_ms):8.1f}", flush=True)


async def main(calls: int, requests: int) -> None:
    with TemporaryDirectory(prefix="million-") as folder:
        server = ServerProcess(Path(folder), live=True)
        await server.mint()
        began_s = time.monotonic()
        ids = await asyncio.to_thread(fill, server.database, calls)
        size_mb = server.database.stat().st_size / 1e6
        print(f"{calls} calls, {size_mb:.0f} MB, written in {time.monotonic() - began_s:.0f} s\n")
        print(f"{'ms, one client':55} {'p50':>8} {'p99':>8} {'max':>8}")
        port = server.client.base_url.port
        assert port is not None
        async with server, Connection(port, server.key) as connection:
            for name, path in _requests(ids, calls):
                await measure(name, connection, requests, path)


def _requests(ids: list[str], calls: int) -> Iterator[tuple[str, Callable[[], str]]]:
    rng = random.Random(2)

    def listing(**query: Any) -> str:
        return "/api/voice?" + urlencode(query, quote_via=quote)

    def moment() -> str:
        return (BEGAN + rng.randrange(calls) * APART).isoformat()

    def theirs() -> str:
        return their_number(rng.randrange(THEIR_NUMBERS))

    yield "GET /healthz (HTTP alone)", lambda: "/healthz"
    yield "GET a call", lambda: f"/api/voice/{rng.choice(ids)}"
    yield "list: the newest 20", lambda: listing()
    yield "list: the newest 100", lambda: listing(pageSize=100)
    yield "list: 20 before any moment", lambda: listing(createdBefore=moment())
    yield "list: status=failed before any moment", lambda: listing(status="failed", createdBefore=moment())
    yield "list: status=answered (none)", lambda: listing(status="answered")
    yield "list: from one of ours (a third)", lambda: listing(**{"from": rng.choice(OUR_NUMBERS)})
    yield (
        "list: from one of ours, status=answered (none)",
        lambda: listing(**{"from": rng.choice(OUR_NUMBERS)}, status="answered"),
    )
    yield (
        "list: from one of ours, status=failed",
        lambda: listing(**{"from": rng.choice(OUR_NUMBERS)}, status="failed", createdBefore=moment()),
    )
    yield "list: to a number (5)", lambda: listing(to=theirs())
    yield (
        "list: to a number, from one of ours, status=completed",
        lambda: listing(to=theirs(), **{"from": rng.choice(OUR_NUMBERS)}, status="completed"),
    )
    yield "list: from an unknown number", lambda: listing(**{"from": "+14155559999"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=1000)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.calls, arguments.requests))
