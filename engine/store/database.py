"""Opens the database at a URL and brings its tables up to date."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Connection, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from engine.errors import ConfigError
from engine.store.schema import REVISION
from engine.store.sqlite import SqliteDatabase

_MIGRATIONS = Path(__file__).with_name("migrations")


async def open_database(url: str) -> SqliteDatabase:
    """Open the database at ``sqlite:///`` and a path, creating or upgrading its tables. Raises ``ConfigError``."""
    path = _file_of(url)
    try:
        database = SqliteDatabase(path)
        try:
            if await database.read(_revision) != REVISION:
                await database.write(_upgrade)
            await database.open()
        except BaseException:
            await database.aclose()
            raise
    except (SQLAlchemyError, OSError) as error:
        reason = getattr(error, "orig", None) or getattr(error, "strerror", None) or error
        raise _mistake(f"cannot use {path}: {reason}") from error
    return database


def _file_of(url: str) -> Path:
    try:
        target = make_url(url)
    except (ArgumentError, ValueError):
        target = URL.create("unknown")
    if target.get_backend_name() != "sqlite":
        raise _mistake("expected sqlite:///path/to/file.db")
    if (target.database or ":memory:").startswith((":memory:", "file:")):
        raise _mistake("expected the path of a file after sqlite:///, because calls must outlive the process")
    return Path(target.database or "").absolute()


def _revision(conn: Connection) -> str | None:
    """The database's revision; None when it is empty. Read without Alembic, whose import is slow and rarely needed."""
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
    """Run the missing migrations. There are none when another process was faster."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": conn})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")


def _mistake(message: str) -> ConfigError:
    return ConfigError("The configuration", [("store.url", message)])
