"""Calls, their histories, transcripts and API keys, kept in SQLite, or in PostgreSQL, or in memory."""

from __future__ import annotations

from engine.store.memory import MemoryStore
from engine.store.sql import Store, open_store

__all__ = ["MemoryStore", "Store", "open_store"]
