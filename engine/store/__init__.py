"""Calls, their histories, transcripts, API keys and webhooks, kept in SQLite or in memory."""

from __future__ import annotations

from engine.store.memory import MemoryStore
from engine.store.sql import Store, only_the_id, open_store

__all__ = ["MemoryStore", "Store", "only_the_id", "open_store"]
