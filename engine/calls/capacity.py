"""The limit on live calls: each environment has a number of lines, and each call holds one line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

from engine.errors import NoCapacity
from engine.records import Environment

_RETRY_AFTER_S = 2


class Capacity:
    """``limits``: how many lines each environment has. A line is held from before the call's record is written until
    the call is over."""

    def __init__(self, limits: Mapping[Environment, int]) -> None:
        self._limits = limits
        self._used = dict.fromkeys(limits, 0)
        self._idle = asyncio.Event()
        self._idle.set()

    def used(self, environment: Environment) -> int:
        """The lines that are held now."""
        return self._used[environment]

    @contextlib.contextmanager
    def hold(self, environment: Environment) -> Iterator[None]:
        """Hold a line until the block ends. Raises ``NoCapacity``."""
        limit = self._limits[environment]
        if self._used[environment] >= limit:
            raise NoCapacity(f"All {limit} lines (sip.max_calls) are in use.", retry_after_s=_RETRY_AFTER_S)
        self._used[environment] += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._used[environment] -= 1
            if not any(self._used.values()):
                self._idle.set()

    async def until_idle(self, timeout_s: float) -> None:
        """Return when no line is held, after ``timeout_s`` at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
