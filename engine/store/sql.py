"""The store on SQLite: every write goes through one writer, reads run beside it."""

from __future__ import annotations

import logging
import math
import time
from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import EngineError, StoreUnavailable
from engine.keys.key import ApiKey
from engine.records import (
    CallChange,
    CallFilter,
    CallId,
    CallRecord,
    CountedCall,
    Environment,
    IdempotencyClaim,
    TranscriptTurn,
)
from engine.store import calls, claims, keys, webhooks
from engine.store.database import open_database
from engine.store.outage import is_outage
from engine.store.sqlite import SqliteDatabase
from engine.store.writer import T, Work, Writer
from engine.webhooks.delivery import Delivery, Webhook
from engine.webhooks.subscriptions import ShowCall

_log = logging.getLogger(__name__)
_TOUCH_EVERY = timedelta(seconds=10)
_DOUBT_S = 5.0


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def only_the_id(call: CallRecord) -> Mapping[str, Any]:
    """The smallest ``data`` of an event: the call's id."""
    return {"id": call.id}


class Store:
    """``CallStore``, ``KeyStore``, ``WebhookStore`` and ``Outbox`` on SQLite.

    Any failure of the database is an ``EngineError``, and so is a write about a call that does not exist. A write
    happens even if its caller is cancelled while waiting for it.
    """

    def __init__(
        self, database: SqliteDatabase, now: Callable[[], datetime] = utc_now, show_call: ShowCall = only_the_id
    ) -> None:
        self._database = database
        self._writer = Writer(database.write)
        self._now = now
        self._show_call = show_call
        self._notify: Callable[[str], None] = _nobody
        self._touched: dict[str, datetime] = {}
        self._failed_s = -math.inf

    @property
    def writable(self) -> bool:
        """False for a while after a write failed, unless a later write succeeded."""
        return time.monotonic() - self._failed_s > _DOUBT_S

    async def aclose(self) -> None:
        """Commit all pending writes and close the database."""
        await self._writer.aclose()
        await self._database.aclose()

    async def add(self, call: CallRecord, claim: IdempotencyClaim | None, *changes: CallChange) -> CallRecord:
        def write(conn: Connection) -> tuple[CallRecord, set[str]]:
            if claim is not None and (earlier := self._claimed(conn, claim)):
                return earlier, set()
            calls.insert_call(conn, call, changes)
            if claim is not None:
                claims.make(conn, claim, call.id, self._now())
            return call, webhooks.queue(conn, call, changes, self._show_call)

        stored, queued = await self._write(write)
        self._notify_all(queued)
        return stored

    async def save(self, call: CallRecord, *changes: CallChange) -> None:
        def write(conn: Connection) -> set[str]:
            new = calls.update_call(conn, call, changes)
            return webhooks.queue(conn, call, new, self._show_call)

        self._notify_all(await self._write(write))

    async def add_turn(self, call_id: CallId, turn: TranscriptTurn, at: datetime) -> None:
        await self._write(lambda conn: calls.put_turn(conn, call_id, turn, at))

    async def get(self, call_id: CallId) -> CallRecord | None:
        return await self._read(lambda conn: calls.read_call(conn, call_id))

    async def claimed(self, claim: IdempotencyClaim) -> CallRecord | None:
        return await self._read(lambda conn: self._claimed(conn, claim))

    async def live(self) -> Sequence[CallRecord]:
        return await self._read(calls.read_live)

    async def find(self, which: CallFilter, limit: int) -> Sequence[CallRecord]:
        return await self._read(lambda conn: calls.read_page(conn, which, limit))

    async def erase_conversation(self, call_id: CallId) -> None:
        await self._write(lambda conn: _erase(conn, call_id))

    async def erase_conversations(self, before: datetime, limit: int) -> int:
        def write(conn: Connection) -> int:
            found = calls.read_conversations(conn, before, limit)
            for call_id in found:
                _erase(conn, call_id)
            return len(found)

        return await self._write(write)

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        return await self._write(lambda conn: webhooks.forget_deliveries(conn, before, limit))

    async def changes(self, call_id: CallId) -> Sequence[CallChange]:
        return await self._read(lambda conn: calls.read_changes(conn, call_id))

    async def placed_since(self, at: datetime, environment: Environment) -> Sequence[CountedCall]:
        return await self._read(lambda conn: calls.read_placed(conn, at, environment))

    async def add_key(self, key: ApiKey) -> None:
        await self._write(lambda conn: keys.insert_key(conn, key))

    async def find_key(self, digest: str) -> ApiKey | None:
        return await self._read(lambda conn: keys.read_key(conn, digest))

    async def list_keys(self) -> Sequence[ApiKey]:
        return await self._read(keys.read_keys)

    async def revoke_key(self, id_or_prefix: str, at: datetime) -> ApiKey | None:
        return await self._write(lambda conn: keys.revoke(conn, id_or_prefix, at))

    async def touch_key(self, key_id: str, at: datetime) -> None:
        """Note that the key was used, at most every ten seconds for each key; returns before it is written."""
        last = self._touched.get(key_id)
        if last is not None and at - last < _TOUCH_EVERY:
            return
        self._touched[key_id] = at
        self._writer.submit(lambda conn: keys.touch(conn, key_id, at)).add_done_callback(_log_failure)

    async def add_webhook(self, webhook: Webhook) -> None:
        await self._write(lambda conn: webhooks.insert_webhook(conn, webhook))

    async def list_webhooks(self, environment: Environment) -> Sequence[Webhook]:
        return await self._read(lambda conn: webhooks.read_webhooks(conn, environment))

    async def find_webhook(self, webhook_id: str) -> Webhook | None:
        return await self._read(lambda conn: webhooks.read_webhook(conn, webhook_id))

    async def delete_webhook(self, webhook_id: str, environment: Environment) -> bool:
        return await self._write(lambda conn: webhooks.delete_webhook(conn, webhook_id, environment))

    async def disable_webhook(self, webhook_id: str, at: datetime) -> None:
        await self._write(lambda conn: webhooks.disable_webhook(conn, webhook_id, at))

    def on_queued(self, notify: Callable[[str], None]) -> None:
        self._notify = notify

    async def backlogs(self) -> Sequence[str]:
        return await self._read(webhooks.read_backlogs)

    async def upcoming(self, webhook_id: str, limit: int) -> Sequence[Delivery]:
        return await self._read(lambda conn: webhooks.read_upcoming(conn, webhook_id, limit))

    async def list_deliveries(self, webhook_id: str, limit: int) -> Sequence[Delivery]:
        return await self._read(lambda conn: webhooks.read_deliveries(conn, webhook_id, limit))

    async def settle(self, delivery: Delivery, at: datetime) -> None:
        await self._write(lambda conn: webhooks.settle(conn, delivery, at))

    def _notify_all(self, webhook_ids: Iterable[str]) -> None:
        for webhook_id in webhook_ids:
            self._notify(webhook_id)

    def _claimed(self, conn: Connection, claim: IdempotencyClaim) -> CallRecord | None:
        call_id = claims.claimed_call(conn, claim, self._now())
        return calls.read_call(conn, call_id) if call_id else None

    async def _write(self, work: Work[T]) -> T:
        try:
            with _translated():
                result = await self._writer.submit(work)
        except StoreUnavailable:
            self._failed_s = time.monotonic()
            raise
        self._failed_s = -math.inf
        return result

    async def _read(self, work: Work[T]) -> T:
        with _translated():
            return await self._database.read(work)


async def open_store(url: str, *, now: Callable[[], datetime] = utc_now, show_call: ShowCall = only_the_id) -> Store:
    """Open the store at a URL (``sqlite:///path``), creating or upgrading its tables.

    ``show_call`` makes the ``data`` of the events that webhooks get.

    Raises ``ConfigError`` for a URL that cannot be used, and for a database that a newer version of Trunkline wrote.
    """
    return Store(await open_database(url), now, show_call)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or type(error).__name__
        if is_outage(error):
            raise StoreUnavailable(str(reason)) from error
        raise EngineError(f"The database failed: {reason}.") from error


def _erase(conn: Connection, call_id: CallId) -> None:
    calls.erase_conversation(conn, call_id)
    webhooks.redact(conn, call_id)


def _nobody(webhook_id: str) -> None:
    """Does nothing: no dispatcher runs in this process."""


def _log_failure(written: Future[None]) -> None:
    if not written.cancelled() and (error := written.exception()):
        _log.warning("cannot note the use of an API key", extra={"reason": type(error).__name__})
