"""The stuck-call guard: once a second, what the control process believes is held against what the workers tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("trunkline.watchdog")


async def watch_over(sweep: Callable[[], None], every_s: float = 1.0) -> None:
    """Call ``sweep`` again and again; one that fails is logged, and the next one takes place all the same.

    The time between two is counted from the end of the one before: after this process was itself kept waiting, one
    sweep follows and not all those that were missed, so nobody is blamed for our own standstill.
    """
    while True:
        await asyncio.sleep(every_s)
        try:
            sweep()
        except Exception:  # the guard itself must outlive whatever it finds
            log.exception("a sweep of the watchdog failed")
