"""Opening a database: from a URL to tables that are up to date."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, Connection, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from engine.errors import ConfigError
from engine.store.schema import REVISION
from engine.store.sqlite import SqliteDatabase
from engine.store.writer import T, Work

_MIGRATIONS = Path(__file__).with_name("migrations")


class Database(Protocol):
    """Where SQL runs, off the loop; one write at a time, reads beside it."""

    async def write(self, work: Work[T]) -> T: ...

    async def read(self, work: Work[T]) -> T: ...

    async def aclose(self) -> None: ...


async def open_database(url: str) -> Database:
    """Open the database, create it (SQLite) and bring it up to date if need be. Raises ``ConfigError``."""
    target = _parse(url)
    try:
        database = _connect(target)
        try:
            if await database.read(_revision) != REVISION:
                await database.write(_upgrade)
        except BaseException:
            await database.aclose()
            raise
    except (SQLAlchemyError, OSError) as error:
        reason = getattr(error, "orig", None) or getattr(error, "strerror", None) or error
        raise _mistake(f"cannot use {target.render_as_string(hide_password=True)}: {reason}") from error
    return database


def _parse(url: str) -> URL:
    try:
        target = make_url(url)
    except (ArgumentError, ValueError):
        target = URL.create("unknown")
    backend = target.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise _mistake("expected sqlite:///path/to/file.db or postgresql://user:password@host/name")
    if backend == "sqlite" and (target.database or ":memory:").startswith((":memory:", "file:")):
        raise _mistake("expected the path of a file after sqlite:///, for calls must outlive the process")
    if backend == "postgresql" and find_spec("asyncpg") is None:
        raise _mistake("PostgreSQL needs the package asyncpg, which is not installed: pip install asyncpg")
    return target


def _connect(target: URL) -> Database:
    if target.get_backend_name() == "sqlite":
        return SqliteDatabase(Path(target.database or "").absolute())
    from engine.store.postgresql import PostgresqlDatabase  # SQLAlchemy's asyncio costs memory where it is not used.

    return PostgresqlDatabase(target)


def _revision(conn: Connection) -> str | None:
    """The database's revision, None for an empty one. Alembic would tell, but its import is slow and rarely needed."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    revision: str | None = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision > REVISION:
        raise _mistake(
            f"the database was written by a newer version of Trunkline (its tables are revision {revision}, this one "
            f"knows {REVISION}). Run that version or a newer one, or restore a backup from before the upgrade"
        )
    return revision


def _upgrade(conn: Connection) -> None:
    """Run the migrations that are missing; none when another process was faster."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": conn})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")


def _mistake(message: str) -> ConfigError:
    return ConfigError("The configuration", [("store.url", message)])
