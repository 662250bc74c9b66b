"""Idempotency claims: the call that a client's ``Idempotency-Key`` stands for, for one day."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from engine.errors import IdempotencyConflict
from engine.records import CallId, IdempotencyClaim
from engine.store import schema

LIFETIME = timedelta(hours=24)


def claimed_call(conn: Connection, claim: IdempotencyClaim, now: datetime) -> CallId | None:
    """The claimed call, or None. Raises ``IdempotencyConflict`` when the claim was made with another body."""
    table = schema.claims
    same = (table.c.api_key_id == claim.api_key_id) & (table.c.idempotency_key == claim.key)
    query = select(table.c.call_id, table.c.body_digest).where(same, table.c.claimed_at > now - LIFETIME)
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    if row.body_digest != claim.body_digest:
        raise IdempotencyConflict
    return CallId(row.call_id)


def make(conn: Connection, claim: IdempotencyClaim, call_id: CallId, now: datetime) -> None:
    """Write a claim for ``call_id``, and delete all claims that have expired, whoever made them."""
    conn.execute(delete(schema.claims).where(schema.claims.c.claimed_at <= now - LIFETIME))
    row = {
        "api_key_id": claim.api_key_id,
        "idempotency_key": claim.key,
        "body_digest": claim.body_digest,
        "call_id": call_id,
        "claimed_at": now,
    }
    conn.execute(insert(schema.claims), row)
