"""Runs the migrations in the transaction of the connection that ``database.py`` hands over."""

from __future__ import annotations

from alembic import context

from engine.store.schema import metadata

# render_as_batch: SQLite alters a table by rebuilding it.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
