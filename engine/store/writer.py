"""Group commit: the writes that arrive while a transaction commits go together in the next one.

Nothing waits on purpose: a lone write is committed at once, and the busier the database, the larger the groups.
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
"""Statements that belong together. It runs again after a rollback, so that only its last result counts. A
``RequestError`` it raises means that it has written nothing."""
_Queued = tuple[Work[Any], asyncio.Future[Any]]


class Writer:
    """Runs work in the order of its coming, many pieces to a transaction."""

    def __init__(self, transact: Callable[[Work[list[Any]]], Awaitable[list[Any]]]) -> None:
        self._transact = transact
        self._queue: list[_Queued] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, work: Work[T]) -> asyncio.Future[T]:
        """Queue work; the future has its result once it is committed, or what it raised.

        It is done also when nobody waits for it any more.
        """
        if self._closed:
            raise EngineError("The store is closed.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append((work, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="store writer")
        return future

    async def aclose(self) -> None:
        """Refuse new work and return when what was submitted is done."""
        self._closed = True
        if self._task is not None:
            await self._task

    async def _drain(self) -> None:
        while self._queue:
            group, self._queue = self._queue, []
            error = await self._try(group)
            if is_outage(error):
                # What has come meanwhile would fail too, each after a time-out of its own.
                group, self._queue = group + self._queue, []
                for _, future in group:
                    if not future.done():
                        future.set_exception(cast(Exception, error))
            elif error is not None:
                # One of them spoiled the transaction. Alone, each fails for its own caller only.
                for queued in group:
                    error = await self._try([queued])
                    if error is not None and not queued[1].done():
                        queued[1].set_exception(error)
        self._task = None

    async def _try(self, group: list[_Queued]) -> Exception | None:
        try:
            results = await self._transact(lambda conn: [_result(work, conn) for work, _ in group])
        except Exception as error:  # noqa: BLE001 - whatever work raises is its caller's, and the writer goes on
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
