"""Adds which API key placed a call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("calls", sa.Column("api_key_id", sa.Text(), comment="the key that placed it"))
