"""A store whose writes take as long as a test lets them."""

from __future__ import annotations

import asyncio

from engine.records import CallChange, CallRecord
from engine.store import MemoryStore


class SlowStore(MemoryStore):
    """Saves while it is ``free``; ``asked`` is set once it is to save."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.free.set()
        self.asked = asyncio.Event()

    async def save(self, call: CallRecord, *changes: CallChange) -> None:
        self.asked.set()
        await self.free.wait()
        await super().save(call, *changes)
