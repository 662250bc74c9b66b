from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from engine.errors import EngineError, IdempotencyConflict
from engine.store.writer import Work, Writer


class Transactions:
    """A database that commits when the test lets it, and remembers how much went together."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.may_commit = asyncio.Event()

    async def __call__(self, work: Work[list[Any]]) -> list[Any]:
        await self.may_commit.wait()
        results = work(cast(Connection, None))
        self.sizes.append(len(results))
        return results


@pytest.fixture
async def transactions() -> Transactions:
    return Transactions()


def returning(value: object) -> Work[object]:
    return lambda _: value


def failing(error: Exception) -> Work[object]:
    def work(_: Connection) -> object:
        raise error

    return work


async def test_work_that_comes_during_a_commit_goes_together_in_the_next(transactions: Transactions) -> None:
    writer = Writer(transactions)
    futures = [writer.submit(returning(0))]
    await asyncio.sleep(0)
    futures += [writer.submit(returning(n)) for n in range(1, 5)]
    transactions.may_commit.set()
    assert await asyncio.gather(*futures) == [0, 1, 2, 3, 4]
    assert transactions.sizes == [1, 4]


async def test_no_result_is_returned_before_the_commit(transactions: Transactions) -> None:
    writer = Writer(transactions)
    future = writer.submit(returning(1))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not future.done()
    transactions.may_commit.set()
    assert await future == 1


@pytest.mark.parametrize("make", [lambda: ValueError("broken"), IdempotencyConflict])
async def test_failing_work_fails_for_its_own_caller_only(
    transactions: Transactions, make: Callable[[], Exception]
) -> None:
    writer = Writer(transactions)
    transactions.may_commit.set()
    error = make()
    futures = [writer.submit(work) for work in (returning(1), failing(error), returning(3))]
    assert await asyncio.gather(*futures, return_exceptions=True) == [1, error, 3]


async def test_writing_goes_on_after_a_failure(transactions: Transactions) -> None:
    writer = Writer(transactions)
    transactions.may_commit.set()
    with pytest.raises(ValueError, match="broken"):
        await writer.submit(failing(ValueError("broken")))
    assert await writer.submit(returning(2)) == 2


async def test_work_is_done_also_when_its_caller_was_cancelled(transactions: Transactions) -> None:
    writer = Writer(transactions)
    done: list[int] = []
    futures = [writer.submit(lambda _, n=n: done.append(n)) for n in range(2)]  # type: ignore[misc]
    futures[0].cancel()
    transactions.may_commit.set()
    await futures[1]
    assert done == [0, 1]


async def test_closing_waits_for_what_was_submitted_and_refuses_the_rest(transactions: Transactions) -> None:
    writer = Writer(transactions)
    future = writer.submit(returning(1))
    closing = asyncio.create_task(writer.aclose())
    await asyncio.sleep(0)
    with pytest.raises(EngineError, match="closed"):
        writer.submit(returning(2))
    assert not closing.done()
    transactions.may_commit.set()
    await closing
    assert future.result() == 1


async def test_outage_of_the_database_fails_everything_that_waits_at_once(transactions: Transactions) -> None:
    tries = 0

    async def down(work: Work[list[Any]]) -> list[Any]:
        nonlocal tries
        tries += 1
        await transactions.may_commit.wait()
        raise OperationalError("BEGIN IMMEDIATE", {}, Exception("the server went away"))

    writer = Writer(down)
    futures = [writer.submit(returning(0))]
    await asyncio.sleep(0)
    futures += [writer.submit(returning(n)) for n in range(1, 5)]
    transactions.may_commit.set()
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(result, OperationalError) for result in results)
    assert tries == 1
    await writer.aclose()
