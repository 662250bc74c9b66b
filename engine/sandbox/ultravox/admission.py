"""The limits on creating calls, and the check that a refused client waits as long as ``Retry-After`` says."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import Knobs

_MINUTE_S: Final = 60.0
_CALLS_RETRY_S: Final = 1


class Admission:
    """Sliding windows over the creations of the last minute.

    Notes ``ignored-retry-after`` when a create request comes before the last refusal's ``Retry-After`` has passed.
    """

    def __init__(self, faults: ClientFaults) -> None:
        self._faults = faults
        self._created: deque[float] = deque()
        self._not_before = -math.inf

    def arrived(self, now: float) -> None:
        """A create request has arrived."""
        if now < self._not_before:
            self._faults.note("ignored-retry-after", now, f"{self._not_before - now:.2f} s too early")

    def refused(self, retry_after: str | None, now: float) -> None:
        """The request was refused with ``retry_after``. A ``Retry-After`` in the form of a date is not checked."""
        if retry_after is not None and retry_after.isdigit():
            self._not_before = now + int(retry_after)

    def retry_after_s(self, knobs: Knobs, live_calls: int, now: float) -> int | None:
        """Seconds to wait when one more call is too many (429). None when it may be created; it is counted then."""
        while self._created and self._created[0] <= now - _MINUTE_S:
            self._created.popleft()
        if knobs.max_calls is not None and live_calls >= knobs.max_calls:
            return _CALLS_RETRY_S
        for limit, window_s in ((knobs.creates_per_s, 1.0), (knobs.creates_per_min, _MINUTE_S)):
            recent = [at for at in self._created if at > now - window_s]
            if limit is not None and len(recent) >= limit:
                return math.ceil(recent[-limit] + window_s - now)
        self._created.append(now)
        return None
