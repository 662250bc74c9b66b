"""How long conversations and the log of deliveries are kept: what is older is deleted, a little at a time."""

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
"""Between two batches, each of which holds the database's write lock: calls are written meanwhile."""


class Archive(Protocol):
    """What is kept for a time only. Each method does ``limit`` at most and returns how many it did."""

    async def erase_conversations(self, before: datetime, limit: int) -> int:
        """``erase_conversation`` of calls that ended before then."""
        ...

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        """Delete what became of deliveries that were queued before then and are over."""
        ...


async def keep_for(
    archive: Archive, *, conversations: timedelta | None, deliveries: timedelta, every_s: float = _EVERY_S
) -> None:
    """Delete, once an hour, what is older than that; None keeps it for good. Runs until it is cancelled."""
    while True:
        now = datetime.now(UTC)
        try:
            if conversations is not None:
                await _all(archive.erase_conversations, now - conversations, "conversations deleted")
            await _all(archive.forget_deliveries, now - deliveries, "old deliveries forgotten")
        except EngineError as error:
            log.warning("nothing was deleted, which is tried again: %s", error)
        await asyncio.sleep(every_s)


async def _all(delete: Callable[[datetime, int], Awaitable[int]], before: datetime, what: str) -> None:
    deleted = 0
    while count := await delete(before, _BATCH):
        deleted += count
        await asyncio.sleep(_REST_S)
    if deleted:
        log.info(what, extra={"count": deleted})
