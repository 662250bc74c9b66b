"""API keys: records to rows and back, on the caller's connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from engine.keys.key import ApiKey
from engine.records import Environment
from engine.store import schema

_keys = schema.api_keys
_ALL = select(_keys).order_by(_keys.c.created_at, _keys.c.id)
_OF_DIGEST = select(_keys).where(_keys.c.digest == bindparam("wanted"))
"""Built once: every request runs it, and building it takes longer than running it."""


def insert_key(conn: Connection, key: ApiKey) -> None:
    """Write a new key."""
    row = {**asdict(key), "environment": key.environment.value, "scopes": sorted(key.scopes)}
    conn.execute(insert(_keys), row)


def read_key(conn: Connection, digest: str) -> ApiKey | None:
    """The key with this digest, or None."""
    row = conn.execute(_OF_DIGEST, {"wanted": digest}).one_or_none()
    return _key(row._asdict()) if row else None


def read_keys(conn: Connection) -> Sequence[ApiKey]:
    """Every key, oldest first."""
    return [_key(row._asdict()) for row in conn.execute(_ALL)]


def revoke(conn: Connection, id_or_prefix: str, at: datetime) -> ApiKey | None:
    """Revoke the only key with this id or prefix. A key that is revoked already keeps its time."""
    named = select(_keys).where(or_(_keys.c.id == id_or_prefix, _keys.c.prefix == id_or_prefix))
    found = conn.execute(named).all()
    if len(found) != 1:
        return None
    key = _key(found[0]._asdict())
    if key.revoked_at is None:
        key = replace(key, revoked_at=at)
        conn.execute(update(_keys).where(_keys.c.id == key.id).values(revoked_at=at))
    return key


def touch(conn: Connection, key_id: str, at: datetime) -> None:
    """Note when the key was used."""
    conn.execute(update(_keys).where(_keys.c.id == key_id).values(last_used_at=at))


def _key(row: dict[str, Any]) -> ApiKey:
    return ApiKey(**{**row, "environment": Environment(row["environment"]), "scopes": frozenset(row["scopes"])})
