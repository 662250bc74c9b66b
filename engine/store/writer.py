"""Group commit: the writes that arrive while a transaction commits share the next transaction.

Nothing is delayed on purpose: a single write is committed at once. The busier the database, the larger the groups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from engine.errors import EngineError, RequestError
from engine.store.outage import is_outage

T = TypeVar("T")
Work = Callable[[Connection], T]
"""Statements that belong together. They run again after a rollback, and only the last result counts. When they raise a
``RequestError``, they have written nothing."""
_Queued = tuple[Work[Any], asyncio.Future[Any]]


class Writer:
    """Runs work in the order of ``submit``, many pieces in each transaction."""

    def __init__(self, transact: Callable[[Work[list[Any]]], Awaitable[list[Any]]]) -> None:
        self._transact = transact
        self._queue: list[_Queued] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, work: Work[T]) -> asyncio.Future[T]:
        """Queue work; the future gets its result once it is committed, or the exception that it raised.

        The work is done even if nobody waits for the future any more.
        """
        if self._closed:
            raise EngineError("The store is closed.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append((work, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="store writer")
        return future

    async def aclose(self) -> None:
        """Refuse new work; returns when all submitted work is done."""
        self._closed = True
        if self._task is not None:
            await self._task

    async def _drain(self) -> None:
        while self._queue:
            group, self._queue = self._queue, []
            error = await self._try(group)
            if is_outage(error):
                # Work that arrived meanwhile would fail too, each piece after another time-out.
                group, self._queue = group + self._queue, []
                for _, future in group:
                    if not future.done():
                        future.set_exception(cast(Exception, error))
            elif error is not None:
                # One piece spoiled the transaction. Alone, each piece fails only for its own caller.
                for queued in group:
                    error = await self._try([queued])
                    if error is not None and not queued[1].done():
                        queued[1].set_exception(error)
        self._task = None

    async def _try(self, group: list[_Queued]) -> Exception | None:
        try:
            results = await self._transact(lambda conn: [_result(work, conn) for work, _ in group])
        except Exception as error:  # noqa: BLE001 - an error of the work goes to its caller, and the writer goes on
            return error
        for (_, future), result in zip(group, results, strict=True):
            if future.done():
                continue
            if isinstance(result, RequestError):
                future.set_exception(result)
            else:
                future.set_result(result)
        return None


def _result(work: Work[T], conn: Connection) -> T | RequestError:
    try:
        return work(conn)
    except RequestError as error:
        return error
