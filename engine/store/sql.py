"""The store on a SQL database: every write through one writer, every read beside it."""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import EngineError
from engine.ports import IdempotencyClaim
from engine.records import ApiKey, CallChange, CallId, CallRecord, Environment, TranscriptLine
from engine.store import calls, claims, keys
from engine.store.database import Database, open_database
from engine.store.writer import T, Work, Writer

_log = logging.getLogger(__name__)
_TOUCH_EVERY = timedelta(seconds=10)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Store:
    """``CallStore`` and ``KeyStore`` (see ``engine.ports``) on a SQL database.

    Any failure of the database is an ``EngineError``, as is a write about a call that does not exist. A write happens
    also when its caller is cancelled while waiting for it.
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._writer = Writer(database.write)
        self._now = now
        self._touched: dict[str, datetime] = {}

    async def aclose(self) -> None:
        """Commit what was asked for and close the database."""
        await self._writer.aclose()
        await self._database.aclose()

    async def add(self, call: CallRecord, change: CallChange, claim: IdempotencyClaim | None) -> CallRecord:
        def write(conn: Connection) -> CallRecord:
            if claim is not None and (earlier := self._claimed(conn, claim)):
                return earlier
            calls.insert_call(conn, call, change)
            if claim is not None:
                claims.make(conn, claim, call.id, self._now())
            return call

        return await self._write(write)

    async def save(self, call: CallRecord, change: CallChange) -> None:
        await self._write(lambda conn: calls.update_call(conn, call, change))

    async def add_line(self, call_id: CallId, line: TranscriptLine, at: datetime) -> None:
        await self._write(lambda conn: calls.put_line(conn, call_id, line, at))

    async def get(self, call_id: CallId) -> CallRecord | None:
        return await self._read(lambda conn: calls.read_call(conn, call_id))

    async def claimed(self, claim: IdempotencyClaim) -> CallRecord | None:
        return await self._read(lambda conn: self._claimed(conn, claim))

    async def live(self) -> Sequence[CallRecord]:
        return await self._read(calls.read_live)

    async def changes(self, call_id: CallId) -> Sequence[CallChange]:
        return await self._read(lambda conn: calls.read_changes(conn, call_id))

    async def add_key(self, key: ApiKey) -> None:
        await self._write(lambda conn: keys.insert_key(conn, key))

    async def find_key(self, digest: str) -> ApiKey | None:
        return await self._read(lambda conn: keys.read_key(conn, digest))

    async def list_keys(self) -> Sequence[ApiKey]:
        return await self._read(keys.read_keys)

    async def revoke_key(self, id_or_prefix: str, at: datetime) -> ApiKey | None:
        return await self._write(lambda conn: keys.revoke(conn, id_or_prefix, at))

    async def touch_key(self, key_id: str, at: datetime) -> None:
        """Note that the key was used, at most every ten seconds a key; returns before it is written."""
        last = self._touched.get(key_id)
        if last is not None and at - last < _TOUCH_EVERY:
            return
        self._touched[key_id] = at
        self._writer.submit(lambda conn: keys.touch(conn, key_id, at)).add_done_callback(_log_failure)

    async def environments(self) -> frozenset[Environment]:
        return await self._read(lambda conn: keys.read_environments(conn, self._now()))

    def _claimed(self, conn: Connection, claim: IdempotencyClaim) -> CallRecord | None:
        call_id = claims.claimed_call(conn, claim, self._now())
        return calls.read_call(conn, call_id) if call_id else None

    async def _write(self, work: Work[T]) -> T:
        with _translated():
            return await self._writer.submit(work)

    async def _read(self, work: Work[T]) -> T:
        with _translated():
            return await self._database.read(work)


async def open_store(url: str, *, now: Callable[[], datetime] = utc_now) -> Store:
    """Open the store at a URL (``sqlite:///path`` or ``postgresql://…``), creating or upgrading its tables.

    Raises ``ConfigError`` for a URL that cannot be used, and for a database that a newer version of Trunkline wrote.
    """
    return Store(await open_database(url), now)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or type(error).__name__
        raise EngineError(f"The database did not do what was asked: {reason}.") from error


def _log_failure(written: Future[None]) -> None:
    if not written.cancelled() and (error := written.exception()):
        _log.warning("the use of an API key was not noted", extra={"reason": type(error).__name__})
