"""The guard against stuck calls: once a second, compares the control process's state with the workers' reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("trunkline.watchdog")


async def watch_over(sweep: Callable[[], None], every_s: float = 1.0) -> None:
    """Call ``sweep`` every ``every_s`` seconds. A failed sweep is logged, and the next one runs as usual.

    The interval counts from the end of the last sweep. After this process was itself held up, one sweep follows, not
    all the missed ones, so that no worker is blamed for our own delay.
    """
    while True:
        await asyncio.sleep(every_s)
        try:
            sweep()
        except Exception:  # the guard itself must survive every failure
            log.exception("watchdog's sweep failed")
