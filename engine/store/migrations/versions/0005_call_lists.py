"""Indexes the calls for lists: by time, by status, by number, each the newest first."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

_NEWEST = ("created_at", "id")


def upgrade() -> None:
    op.drop_index("ix_calls_status", "calls")
    op.drop_index("ix_calls_environment_created_at", "calls")
    _index("environment")
    _index("status", "environment")
    _index("environment", "from_number")
    _index("environment", "to_number")


def _index(*columns: str) -> None:
    names = [*columns, *_NEWEST]
    op.create_index(f"ix_calls_{'_'.join(names)}", "calls", names)
