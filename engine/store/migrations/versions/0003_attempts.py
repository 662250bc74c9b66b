"""Adds what each trunk said that was tried for a call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("calls", sa.Column("attempts", sa.JSON(), comment="the trunks that were tried, and what each said"))
