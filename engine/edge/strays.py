"""A limit on what belongs to no dialog of ours: a flood from an admitted source must leave calls alone."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

log = logging.getLogger("trunkline.edge")

EACH_S: Final = 50.0
"""Stray messages a second from one source, over time: some thirty times what a carrier's OPTIONS need."""
BURST: Final = 200.0
ALL_S: Final = 400.0
ALL_BURST: Final = 1000.0
_MOST_SOURCES: Final = 1024
_SEARCHED: Final = 8192
_REPORT_S: Final = 60.0


class Strays:
    """Token buckets by source and for all. To read and answer a message takes some 0.2 ms, to find its Call-ID 0.01."""

    def __init__(self, known: Callable[[str], bool], now_s: Callable[[], float] = time.monotonic) -> None:
        self._known = known
        self._now_s = now_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._all = (ALL_BURST, now_s())
        self._dropped = 0
        self._reported_s = now_s()

    def may_read(self, source: str, data: bytes) -> bool:
        """Whether a message is to be read: it belongs to a dialog, or its source has not spent its strays."""
        if self._known(call_id_of(data)):
            return True
        now_s = self._now_s()
        left = _filled(*self._left.get(source, (BURST, now_s)), EACH_S, BURST, now_s)
        everyone = _filled(*self._all, ALL_S, ALL_BURST, now_s)
        allowed = left >= 1 and everyone >= 1
        self._left[source] = (left - allowed, now_s)
        self._left.move_to_end(source)
        self._all = (everyone - allowed, now_s)
        if len(self._left) > _MOST_SOURCES:
            self._left.popitem(last=False)
        self._dropped += not allowed
        return allowed

    def report(self) -> None:
        """Report once a minute how much was dropped; to be called now and then."""
        now_s = self._now_s()
        if self._dropped and now_s - self._reported_s >= _REPORT_S:
            log.warning("SIP that belongs to no call came too fast and was dropped", extra={"messages": self._dropped})
            self._dropped, self._reported_s = 0, now_s


def call_id_of(data: bytes) -> str:
    """The Call-ID of a message that is not read yet; empty where it does not stand among its first fields."""
    head = data[:_SEARCHED]
    lower = head.lower()
    for name in (b"\ncall-id", b"\ni"):
        at = lower.find(name)
        while at >= 0:
            before, colon, rest = head[at + len(name) :].partition(b":")
            if colon and not before.strip(b" \t"):
                return rest.partition(b"\n")[0].strip(b" \t\r").decode("utf-8", "replace")
            at = lower.find(name, at + 1)
    return ""


def _filled(left: float, since_s: float, each_s: float, most: float, now_s: float) -> float:
    return min(most, left + (now_s - since_s) * each_s)
