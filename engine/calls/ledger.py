"""Writes a call's record: each change is committed before it is published, and its times survive clock changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from engine.calls.call_store import CallStore
from engine.errors import StoreUnavailable
from engine.records import CallChange, CallRecord, TranscriptTurn

log = logging.getLogger("trunkline.call")

_STORE_REST_S = 1.0


class Ledger:
    """The only writer of one call's record. ``record`` is the committed record, so anyone may read it.

    ``writing`` is True during a commit. While the store fails, the write is repeated until it succeeds, and ``failing``
    is True. ``publish`` is called after each commit.
    """

    def __init__(
        self,
        record: CallRecord,
        *,
        store: CallStore,
        publish: Callable[[CallRecord], None],
    ) -> None:
        self.record = record
        self.failing = self.writing = False
        self._store = store
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._epoch = record.created_at - timedelta(seconds=self._loop.time())

    def now(self) -> datetime:
        """The time, by the clock as it was when the call began: durations stay true when the machine's clock is set."""
        return self._epoch + timedelta(seconds=self._loop.time())

    async def change(self, *kinds: str, data: Mapping[str, Any], **fields: Any) -> None:
        """Commit new values of some of the record's fields, as changes of these kinds; then publish the record."""
        record, now = replace(self.record, **fields), self.now()
        changes = [CallChange(call_id=record.id, kind=kind, at=now, data=data) for kind in kinds]
        await self._commit(lambda: self._store.save(record, *changes))
        self._committed(record)

    async def add_turn(self, turn: TranscriptTurn) -> None:
        """Commit a turn of the transcript, in place of one with the same ordinal; then publish the record with it."""
        ai = self.record.ai
        assert ai is not None
        others = (other for other in ai.transcript if other.ordinal != turn.ordinal)
        turns = tuple(sorted((*others, turn), key=lambda each: each.ordinal))
        await self._commit(lambda: self._store.add_turn(self.record.id, turn, self.now()))
        self._committed(replace(self.record, ai=replace(ai, transcript=turns)))

    def _committed(self, record: CallRecord) -> None:
        self.record = record
        self._publish(record)

    async def _commit(self, write: Callable[[], Awaitable[None]]) -> None:
        self.writing = True
        try:
            while True:
                if await self._written(write):
                    return
                await asyncio.sleep(_STORE_REST_S)
        finally:
            self.writing = False

    async def _written(self, write: Callable[[], Awaitable[None]]) -> bool:
        try:
            await write()
        except StoreUnavailable as error:
            if not self.failing:
                log.error("cannot write the call's record, retrying: %s", error, extra={"call": self.record.id})
            self.failing = True
        else:
            self.failing = False
        return not self.failing


def first_kinds(record: CallRecord) -> tuple[str, ...]:
    """The kinds of change that a call begins with, all in one transaction."""
    return ("voice.initiated", "voice.ai.initiated") if record.ai is not None else ("voice.initiated",)


def final_kinds(record: CallRecord) -> tuple[str, ...]:
    """The kinds of change that make a record final, all in one transaction; the last one ends its history."""
    final = "voice.completed" if record.answered_at is not None else "voice.failed"
    return ("voice.ai.ended", final) if record.ai is not None else (final,)
