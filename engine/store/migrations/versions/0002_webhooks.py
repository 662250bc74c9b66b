"""Creates the tables of webhooks and their deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_webhooks()
    _create_deliveries()


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("environment", sa.String(8), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False, comment="signs every delivery, so it cannot be a hash"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("disabled_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_environment", "webhooks", ["environment"])


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("number", _COUNTER, nullable=False, comment="the order of writing"),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("webhook_id", sa.String(40), nullable=False),
        sa.Column("call_id", sa.String(36), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="empty once the delivery is over"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME, comment="NULL: over, or waiting for an earlier one of its call"),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("response_code", sa.Integer()),
        sa.PrimaryKeyConstraint("number", name="pk_deliveries"),
        sa.UniqueConstraint("id", name="uq_deliveries_id"),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name="fk_deliveries_webhook_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name="fk_deliveries_call_id", ondelete="CASCADE"),
        comment="the outbox, written with the changes it tells of, and the log of what became of it",
    )
    op.create_index("ix_deliveries_call_id_webhook_id", "deliveries", ["call_id", "webhook_id"])
    op.create_index("ix_deliveries_webhook_id_due_at", "deliveries", ["webhook_id", "due_at"])
    op.create_index("ix_deliveries_webhook_id_number", "deliveries", ["webhook_id", "number"])
