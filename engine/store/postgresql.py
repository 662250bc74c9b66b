"""PostgreSQL through asyncpg. No test runs on it yet: the statements are portable, and that is all that is promised."""

from __future__ import annotations

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from engine.store.writer import T, Work

_CONNECTIONS = 4


class PostgresqlDatabase:
    """Runs work in transactions on a pool of connections."""

    def __init__(self, url: URL) -> None:
        url = url.set(drivername="postgresql+asyncpg")
        self._engine = create_async_engine(url, pool_size=_CONNECTIONS, max_overflow=0, hide_parameters=True)

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction; committed on return."""
        async with self._engine.begin() as conn:
            return await conn.run_sync(work)

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on what is committed."""
        async with self._engine.connect() as conn:
            return await conn.run_sync(work)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._engine.dispose()
