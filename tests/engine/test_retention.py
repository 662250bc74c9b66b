"""Old conversations and deliveries go, batch by batch, and a store that fails is asked again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from engine.errors import StoreUnavailable
from engine.retention import keep_for


class Archive:
    """So many old things of each kind; ``failures`` of the first requests."""

    def __init__(self, old: int, failures: int = 0) -> None:
        self.conversations = self.deliveries = old
        self.failures = failures
        self.before: set[timedelta] = set()

    async def erase_conversations(self, before: datetime, limit: int) -> int:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("database is locked")
        self._note(before)
        deleted = min(limit, self.conversations)
        self.conversations -= deleted
        return deleted

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        self._note(before)
        deleted = min(limit, self.deliveries)
        self.deliveries -= deleted
        return deleted

    def _note(self, before: datetime) -> None:
        self.before.add(timedelta(days=round((datetime.now(UTC) - before) / timedelta(days=1))))


@pytest.mark.parametrize(
    ("conversations", "failures", "left"),
    [(timedelta(days=7), 0, 0), (timedelta(days=7), 2, 0), (None, 0, 120)],
)
async def test_everything_old_is_deleted_and_only_what_the_setting_names(
    conversations: timedelta | None, failures: int, left: int
) -> None:
    archive = Archive(120, failures)
    keeping = asyncio.create_task(
        keep_for(archive, conversations=conversations, deliveries=timedelta(days=30), every_s=0.01)
    )
    async with asyncio.timeout(30):
        while archive.deliveries or archive.conversations != left:
            await asyncio.sleep(0.01)
    keeping.cancel()
    assert archive.before == {timedelta(days=30), *([conversations] if conversations else [])}
