"""The tables for SQLAlchemy Core. ``migrations/`` builds them; a test checks that both agree."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

REVISION = "0005"
"""The newest migration. Revisions are numbers of four digits, so that they sort by age."""


class UtcTime(TypeDecorator[datetime]):
    """An aware time, stored in UTC with microseconds. SQLite has no time zones and stores it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

Json = JSON(none_as_null=True)


def _call_id(*, primary_key: bool = False) -> Column[str]:
    of_call = ForeignKey("calls.id", ondelete="CASCADE")
    return Column("call_id", String(36), of_call, primary_key=primary_key, nullable=False)


calls = Table(
    "calls",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("sip_call_id", String(64), nullable=False, index=True),
    Column("environment", String(8), nullable=False),
    Column("status", String(16), nullable=False),
    Column("from_number", String(32), nullable=False),
    Column("to_number", String(32), nullable=False),
    Column("max_duration_s", Float),
    Column("metadata", Json, nullable=False),
    Column("agent", Json, comment="the request's AI settings"),
    Column("provider", Text, nullable=False),
    Column("trunk", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("ringing_at", UtcTime),
    Column("answered_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("outcome", Json),
    Column("ai_status", String(16), comment="NULL: a call without AI"),
    Column("ai_ultravox_call_id", Text),
    Column("ai_joined_at", UtcTime),
    Column("ai_ended_at", UtcTime),
    Column("ai_end_reason", Text),
    Column("media", Json),
    Column("attempts", Json, comment="the trunks that were tried, and what each said"),
    Column("api_key_id", Text, comment="the key that placed it"),
    # Each serves a list, newest first. The index on the status also finds the live calls of both environments.
    Index(None, "environment", "created_at", "id"),
    Index(None, "status", "environment", "created_at", "id"),
    Index(None, "environment", "from_number", "created_at", "id"),
    Index(None, "environment", "to_number", "created_at", "id"),
)

changes = Table(
    "changes",
    metadata,
    # The order of writing. SQLite numbers rows by itself only in a column of the exact type INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    _call_id(),
    Column("kind", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("data", Json, nullable=False),
    Index(None, "call_id", "id"),
    comment="what happened to each call: rows are appended, never updated",
)

turns = Table(
    "transcript_lines",
    metadata,
    _call_id(primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("speaker", String(8), nullable=False),
    Column("text", Text, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("at", UtcTime, nullable=False),
)

claims = Table(
    "idempotency_claims",
    metadata,
    Column("api_key_id", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("body_digest", Text, nullable=False),
    _call_id(),
    Column("claimed_at", UtcTime, nullable=False, index=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False, index=True),
    Column("digest", String(64), nullable=False),
    Column("environment", String(8), nullable=False),
    Column("scopes", Json, nullable=False),
    Column("rate_per_s", Float, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("last_used_at", UtcTime),
    UniqueConstraint("digest"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("environment", String(8), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("events", Json, nullable=False),
    Column("secret", Text, nullable=False, comment="signs every delivery, so it cannot be a hash"),
    Column("created_at", UtcTime, nullable=False),
    Column("disabled_at", UtcTime),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, comment="the order of writing"),
    Column("id", String(40), nullable=False),
    Column("webhook_id", String(40), ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    _call_id(),
    Column("event", Text, nullable=False),
    Column("body", Text, nullable=False, comment="empty once the delivery is over"),
    Column("created_at", UtcTime, nullable=False),
    Column("due_at", UtcTime, comment="NULL: over, or waiting for an earlier one of its call"),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("response_code", Integer),
    UniqueConstraint("id"),
    Index(None, "call_id", "webhook_id"),
    Index(None, "webhook_id", "due_at"),
    Index(None, "webhook_id", "number"),
    comment="the outbox, written with the changes it tells of, and the log of what became of it",
)
