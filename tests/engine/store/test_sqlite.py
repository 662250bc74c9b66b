from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from engine.store import sqlite
from engine.store.outage import is_outage
from engine.store.sqlite import SqliteDatabase
from engine.store.writer import Work


def modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


def count(conn: Connection) -> int:
    return int(conn.execute(text("SELECT count(*) FROM pages")).scalar_one())


def add(conn: Connection) -> None:
    conn.execute(text("INSERT INTO pages VALUES (1)"))


async def two_warnings(caplog: pytest.LogCaptureFixture) -> None:
    while len(caplog.records) < 2:
        await asyncio.sleep(0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pages.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = SqliteDatabase(path)
    await opened.write(lambda conn: conn.execute(text("CREATE TABLE pages (number INTEGER)")) and None)
    yield opened
    await opened.aclose()


async def test_every_file_is_its_owners_alone(database: SqliteDatabase, path: Path) -> None:
    assert modes(path.parent) == {"pages.db": 0o600, "pages.db-wal": 0o600, "pages.db-shm": 0o600}


async def test_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT, 0o644))
    await SqliteDatabase(path).aclose()
    assert modes(path.parent) == {"pages.db": 0o600}


async def test_commits_are_synced_to_a_write_ahead_log_and_foreign_keys_hold(database: SqliteDatabase) -> None:
    def settings(conn: Connection) -> list[object]:
        return [
            conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert await database.write(settings) == ["wal", 2, 1]
    assert await database.read(settings) == ["wal", 2, 1]


async def test_failing_work_is_rolled_back(database: SqliteDatabase) -> None:
    def work(conn: Connection) -> None:
        add(conn)
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await database.write(work)
    assert await database.read(count) == 0


async def test_read_does_not_wait_for_a_write_that_runs(database: SqliteDatabase) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work(conn: Connection) -> None:
        add(conn)
        begun.set()
        may_end.wait()

    writing = asyncio.create_task(database.write(work))
    await asyncio.to_thread(begun.wait)
    assert await database.read(count) == 0
    may_end.set()
    await writing
    assert await database.read(count) == 1


async def test_write_waits_for_another_process_that_keeps_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_S", 0.01)
    database = SqliteDatabase(path)
    await database.write(lambda conn: conn.execute(text("CREATE TABLE pages (number INTEGER)")) and None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.WARNING):
        writing = asyncio.create_task(database.write(add))
        await two_warnings(caplog)
    assert not writing.done()
    assert await database.read(count) == 0
    other.execute("ROLLBACK")
    other.close()
    await writing
    assert await database.read(count) == 1
    await database.aclose()


async def test_write_fails_when_another_process_keeps_the_lock_for_too_long_and_the_next_succeeds(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr(sqlite, "_PATIENCE_S", 0.05)
    database = SqliteDatabase(path)
    await database.write(lambda conn: conn.execute(text("CREATE TABLE pages (number INTEGER)")) and None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OperationalError) as failure:
        await database.write(add)
    assert is_outage(failure.value)
    other.close()
    await database.write(add)
    assert await database.read(count) == 1
    await database.aclose()


async def test_full_disk_is_an_outage_that_passes_and_reading_goes_on(database: SqliteDatabase) -> None:
    def limit(pages: int) -> Work[None]:
        # Beyond so many pages SQLite says SQLITE_FULL, as it does for a full disk.
        return lambda conn: conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}").close()

    def fill(conn: Connection) -> None:
        conn.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(100000) AS zeros")

    await database.write(limit(4))
    with pytest.raises(OperationalError) as failure:
        await database.write(fill)
    assert is_outage(failure.value)
    assert await database.read(count) == 0
    await database.write(limit(1_000_000))
    await database.write(fill)


async def test_failing_statement_is_no_outage(database: SqliteDatabase) -> None:
    with pytest.raises(OperationalError) as failure:
        await database.write(lambda conn: conn.execute(text("SELECT * FROM nothing")) and None)
    assert not is_outage(failure.value)


async def test_no_thread_is_left_after_closing(path: Path) -> None:
    before = set(threading.enumerate())
    database = SqliteDatabase(path)
    await asyncio.gather(*(database.read(lambda conn: conn.execute(text("SELECT 1")).scalar()) for _ in range(4)))
    await database.aclose()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("store")]


async def test_opening_waits_for_another_process_too(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_S", 0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.executescript("CREATE TABLE pages (number INTEGER); BEGIN EXCLUSIVE")
    database = SqliteDatabase(path)
    with caplog.at_level(logging.WARNING):
        reading = asyncio.create_task(database.read(count))
        await two_warnings(caplog)
    assert not reading.done()
    other.execute("ROLLBACK")
    other.close()
    assert await reading == 0
    await database.aclose()


async def test_database_that_is_open_needs_no_further_descriptor(path: Path) -> None:
    opened = SqliteDatabase(path)
    await opened.write(lambda conn: conn.execute(text("CREATE TABLE pages (number INTEGER)")) and None)
    await opened.open()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as closing:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, limits[1]))
        closing.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        while True:  # those that are free below the limit
            try:
                closing.callback(os.close, os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        await opened.write(add)
        together = threading.Barrier(2)

        def read(conn: Connection) -> int:
            together.wait(10)
            return count(conn)

        assert sum(await asyncio.gather(opened.read(read), opened.read(read))) == 2
    await opened.aclose()
