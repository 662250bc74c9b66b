"""Lists stay fast however many calls there are: each is read from an index, in its order, and cut off there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from engine.records import CallFilter, CallId, Environment, Status
from engine.store import calls
from engine.store.database import open_database
from tests.engine.store.samples import NOON

OURS, THEIRS = "+14155550100", "+14155550101"


@pytest.mark.parametrize(
    ("given", "index"),
    [
        ({}, "environment="),
        ({"status": Status.FAILED}, "status="),
        ({"from_number": OURS}, "from_number="),
        ({"to_number": THEIRS}, "to_number="),
        ({"from_number": OURS, "status": Status.FAILED}, "from_number="),
        ({"from_number": OURS, "status": Status.RINGING}, "status="),
        ({"from_number": OURS, "to_number": THEIRS}, "to_number="),
        ({"from_number": OURS, "to_number": THEIRS, "status": Status.ANSWERED}, "to_number="),
    ],
)
@pytest.mark.parametrize(
    "when", [{}, {"created_after": NOON, "created_before": NOON}, {"older_than": (NOON, CallId("x"))}]
)
async def test_list_walks_the_index_of_what_picks_fewest_and_sorts_nothing(
    tmp_path: Path, given: dict[str, Any], index: str, when: dict[str, Any]
) -> None:
    def plan(conn: Connection) -> list[str]:
        asked: list[tuple[str, Any]] = []
        event.listen(conn, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
        calls.read_page(conn, CallFilter(environment=Environment.LIVE, **given, **when), 20)
        [(statement, parameters)] = asked
        return [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]

    database = await open_database(f"sqlite:///{tmp_path}/calls.db")
    try:
        [step] = await database.read(plan)
    finally:
        await database.aclose()
    assert step.startswith("SEARCH calls USING INDEX ix_calls_")
    assert index in step
    assert ("created_at" in step.partition("(")[2]) == bool(when)
