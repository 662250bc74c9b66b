"""API keys: records to rows and back, on a connection that is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, or_, select, true, update

from engine.records import ApiKey, Environment
from engine.store import schema

_keys = schema.api_keys


def insert_key(conn: Connection, key: ApiKey) -> None:
    """Write a new key."""
    row = {**asdict(key), "environment": key.environment.value, "scopes": sorted(key.scopes)}
    conn.execute(insert(_keys), row)


def read_key(conn: Connection, digest: str) -> ApiKey | None:
    """The key with this digest, or None."""
    found = _read(conn, _keys.c.digest == digest)
    return found[0] if found else None


def read_keys(conn: Connection) -> Sequence[ApiKey]:
    """Every key, oldest first."""
    return _read(conn, true())


def revoke(conn: Connection, id_or_prefix: str, at: datetime) -> ApiKey | None:
    """Revoke the only key with this id or prefix; one that was revoked before keeps its time."""
    found = _read(conn, or_(_keys.c.id == id_or_prefix, _keys.c.prefix == id_or_prefix))
    if len(found) != 1:
        return None
    key = found[0]
    if key.revoked_at is None:
        key = replace(key, revoked_at=at)
        conn.execute(update(_keys).where(_keys.c.id == key.id).values(revoked_at=at))
    return key


def touch(conn: Connection, key_id: str, at: datetime) -> None:
    """Note when the key was used."""
    conn.execute(update(_keys).where(_keys.c.id == key_id).values(last_used_at=at))


def read_environments(conn: Connection, now: datetime) -> frozenset[Environment]:
    """The environments of the keys that are neither revoked nor expired."""
    unexpired = or_(_keys.c.expires_at.is_(None), _keys.c.expires_at > now)
    query = select(_keys.c.environment).distinct().where(_keys.c.revoked_at.is_(None), unexpired)
    return frozenset(Environment(name) for name in conn.execute(query).scalars())


def _read(conn: Connection, which: ColumnElement[bool]) -> list[ApiKey]:
    rows = conn.execute(select(_keys).where(which).order_by(_keys.c.created_at, _keys.c.id))
    return [_key(row._asdict()) for row in rows]


def _key(row: dict[str, Any]) -> ApiKey:
    return ApiKey(**{**row, "environment": Environment(row["environment"]), "scopes": frozenset(row["scopes"])})
