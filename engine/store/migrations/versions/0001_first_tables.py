"""Creates the first tables: calls with their changes, transcripts and idempotency claims, and API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_calls()
    _create_changes()
    _create_transcript_lines()
    _create_idempotency_claims()
    _create_api_keys()


def _create_calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("sip_call_id", sa.String(64), nullable=False),
        sa.Column("environment", sa.String(8), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("from_number", sa.String(32), nullable=False),
        sa.Column("to_number", sa.String(32), nullable=False),
        sa.Column("max_duration_s", sa.Float()),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("agent", sa.JSON(), comment="the request's AI settings"),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("trunk", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("ringing_at", _TIME),
        sa.Column("answered_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("outcome", sa.JSON()),
        sa.Column("ai_status", sa.String(16), comment="NULL: a call without AI"),
        sa.Column("ai_ultravox_call_id", sa.Text()),
        sa.Column("ai_joined_at", _TIME),
        sa.Column("ai_ended_at", _TIME),
        sa.Column("ai_end_reason", sa.Text()),
        sa.Column("media", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_calls"),
    )
    op.create_index("ix_calls_sip_call_id", "calls", ["sip_call_id"])
    op.create_index("ix_calls_status", "calls", ["status"])
    op.create_index("ix_calls_environment_created_at", "calls", ["environment", "created_at"])


def _create_changes() -> None:
    op.create_table(
        "changes",
        sa.Column("id", _COUNTER, nullable=False),
        sa.Column("call_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_changes"),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name="fk_changes_call_id", ondelete="CASCADE"),
        comment="what happened to each call: rows are appended, never updated",
    )
    op.create_index("ix_changes_call_id_id", "changes", ["call_id", "id"])


def _create_transcript_lines() -> None:
    op.create_table(
        "transcript_lines",
        sa.Column("call_id", sa.String(36), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("speaker", sa.String(8), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("call_id", "ordinal", name="pk_transcript_lines"),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name="fk_transcript_lines_call_id", ondelete="CASCADE"),
    )


def _create_idempotency_claims() -> None:
    op.create_table(
        "idempotency_claims",
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("body_digest", sa.Text(), nullable=False),
        sa.Column("call_id", sa.String(36), nullable=False),
        sa.Column("claimed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("api_key_id", "idempotency_key", name="pk_idempotency_claims"),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name="fk_idempotency_claims_call_id", ondelete="CASCADE"),
    )
    op.create_index("ix_idempotency_claims_claimed_at", "idempotency_claims", ["claimed_at"])


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("environment", sa.String(8), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("rate_per_s", sa.Float(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("last_used_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_index("ix_api_keys_prefix", "api_keys", ["prefix"])
