from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from engine.errors import ConfigError
from engine.store import database, schema
from engine.store.database import open_database

OPEN = """
import asyncio, sys
from engine.store import open_store
async def main():
    store = await open_store(sys.argv[1])
    await store.aclose()
    print("alembic" in sys.modules)
asyncio.run(main())
"""


def opening(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OPEN, url], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/trunkline.db"


def differences(conn: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), schema.metadata))


async def test_migrations_build_what_the_schema_says(url: str) -> None:
    opened = await open_database(url)
    try:
        assert await opened.read(differences) == []
        tables = await opened.read(lambda conn: inspect(conn).get_table_names())
        assert set(tables) == {*schema.metadata.tables, "alembic_version"}
    finally:
        await opened.aclose()


def test_newest_migration_is_the_one_the_schema_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.REVISION


async def test_migration_that_is_missing_is_run(url: str, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "trunkline.db").executescript(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);"
    ).connection.close()
    opened = await open_database(url)
    try:
        assert await opened.read(database._revision) == schema.REVISION
    finally:
        await opened.aclose()


async def test_failing_migration_leaves_the_database_as_it_was(url: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "trunkline.db") as file:
        file.execute("CREATE TABLE api_keys (somebody_elses INTEGER)")
    file.close()
    with pytest.raises(ConfigError, match="already exists"):
        await open_database(url)
    with sqlite3.connect(tmp_path / "trunkline.db") as file:
        assert file.execute("SELECT name FROM sqlite_master").fetchall() == [("api_keys",)]
    file.close()


async def test_database_of_a_newer_version_is_refused_untouched(url: str, tmp_path: Path) -> None:
    await (await open_database(url)).aclose()
    with sqlite3.connect(tmp_path / "trunkline.db") as file:
        file.execute("UPDATE alembic_version SET version_num = '0999'")
    file.close()
    with pytest.raises(ConfigError, match=r"newer version of Trunkline \(its tables are revision 0999"):
        await open_database(url)


def test_database_that_is_up_to_date_opens_without_alembic(url: str) -> None:
    answers = []
    for _ in range(2):
        process = opening(url)
        answers.append(process.communicate()[0].strip())
    assert answers == ["True", "False"]


def test_processes_that_open_a_new_file_at_the_same_moment_all_can(url: str) -> None:
    processes = [opening(url) for _ in range(3)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "expected sqlite:///path"),
        ("trunkline.db", "expected sqlite:///path"),
        ("mysql://somewhere/db", "expected sqlite:///path"),
        ("postgresql://user:sesame@host:port/db", "expected sqlite:///path"),
        ("sqlite://", "expected the path of a file"),
        ("sqlite:///:memory:", "expected the path of a file"),
        ("sqlite:////nowhere/trunkline.db", "No such file or directory"),
        ("sqlite:////tmp", "Is a directory"),
        ("postgresql://user:sesame@host/db", "expected sqlite:///path"),
    ],
)
async def test_url_that_cannot_be_used_is_a_mistake_without_its_password(url: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await open_database(url)
    assert expected in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert caught.value.mistakes[0][0] == "store.url"


async def test_file_that_is_no_database_is_a_mistake(url: str, tmp_path: Path) -> None:
    (tmp_path / "trunkline.db").write_text("Dear diary, today I was not a database. " * 100)
    with pytest.raises(ConfigError, match="file is not a database"):
        await open_database(url)


async def test_path_with_a_percent_sign_is_opened(tmp_path: Path) -> None:
    (tmp_path / "100%").mkdir()
    await (await open_database(f"sqlite:///{tmp_path}/100%/calls.db")).aclose()
    assert await asyncio.to_thread((tmp_path / "100%" / "calls.db").exists)
