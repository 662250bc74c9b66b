"""Retention: deletes old conversations and old entries of the delivery log, in small batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from engine.errors import EngineError

log = logging.getLogger("trunkline.retention")

_EVERY_S = 3600.0
_BATCH = 50
_REST_S = 0.05
"""The pause between two batches. A batch holds the database's write lock; calls are written in the pauses."""


class Archive(Protocol):
    """The data that is kept for a limited time. Each method handles at most ``limit`` items; returns their number."""

    async def erase_conversations(self, before: datetime, limit: int) -> int:
        """Do ``erase_conversation`` for calls that ended before ``before``."""
        ...

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        """Delete deliveries that were queued before ``before`` and are over."""
        ...


async def keep_for(
    archive: Archive, *, conversations: timedelta | None, deliveries: timedelta, every_s: float = _EVERY_S
) -> None:
    """Once an hour, delete what is older than the given times; None keeps it for good. Runs until it is cancelled."""
    while True:
        now = datetime.now(UTC)
        try:
            if conversations is not None:
                await _all(archive.erase_conversations, now - conversations, "deleted old conversations")
            await _all(archive.forget_deliveries, now - deliveries, "deleted old deliveries")
        except EngineError as error:
            log.warning("cannot delete old data, trying again: %s", error)
        await asyncio.sleep(every_s)


async def _all(delete: Callable[[datetime, int], Awaitable[int]], before: datetime, what: str) -> None:
    deleted = 0
    while count := await delete(before, _BATCH):
        deleted += count
        await asyncio.sleep(_REST_S)
    if deleted:
        log.info(what, extra={"count": deleted})
