"""No PostgreSQL is at hand: only that it could be asked what SQLite is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ClauseElement, Engine, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from engine.store import open_store, schema
from tests.engine.store.samples import NOON, Clock, a_change, a_claim, a_key, a_line, an_ai_call


@pytest.fixture
def written() -> Iterator[set[str]]:
    """The kinds of statements that were executed on SQLite, each of which was written for PostgreSQL too."""
    kinds: set[str] = set()

    def write(conn: object, statement: Any, *_: object) -> None:
        if isinstance(statement, ClauseElement):
            kinds.add(str(statement.compile(dialect=postgresql.asyncpg.dialect())).split()[0])  # type: ignore[no-untyped-call]

    event.listen(Engine, "before_execute", write)
    yield kinds
    event.remove(Engine, "before_execute", write)


async def test_every_statement_can_be_written_for_postgresql(tmp_path: Path, written: set[str]) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/calls.db", now=Clock())
    call, key = an_ai_call(), a_key()
    await store.add(call, a_claim(), a_change(call))
    await store.save(call, a_change(call))
    await store.add_turn(call.id, a_line(0), NOON)
    await store.add_key(key)
    await store.touch_key(key.id, NOON)
    await store.revoke_key(key.id, NOON)
    for reading in (store.get(call.id), store.claimed(a_claim()), store.live(), store.changes(call.id)):
        assert await reading
    for listing in (store.find_key(key.digest), store.list_keys()):
        assert await listing
    assert await store.environments() == frozenset()
    await store.aclose()
    assert written >= {"SELECT", "INSERT", "UPDATE", "DELETE"}


@pytest.mark.parametrize("name", list(schema.metadata.tables))
def test_every_table_can_be_written_for_postgresql(name: str) -> None:
    table = CreateTable(schema.metadata.tables[name])
    assert "TIMESTAMP WITH TIME ZONE" in str(table.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
