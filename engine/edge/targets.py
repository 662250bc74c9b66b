"""Where a request may be sent, and which of these places failed a short while ago."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Transport = Literal["udp", "tcp", "tls"]

FAILED_FOR_S = 60.0
MAX_FAILED = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """One address and port. ``host`` is the URI's host: what a certificate must be valid for (RFC 5922 §7.2)."""

    address: str
    port: int
    transport: Transport
    host: str


class Targets:
    """The memory of failures: a target that failed is tried last for ``FAILED_FOR_S``."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed_at: OrderedDict[tuple[str, int, Transport], float] = OrderedDict()

    def in_order(self, targets: Iterable[Target]) -> list[Target]:
        """The targets as they were given, those that failed lately behind them, the latest failure last."""
        oldest = self._clock() - FAILED_FOR_S
        failures = {target: self._failed_at.get(_place(target), oldest) for target in targets}
        return sorted(failures, key=lambda target: max(failures[target], oldest))

    def failed(self, target: Target) -> None:
        """The target did not answer, refused the connection or said that it is unavailable."""
        self._failed_at[_place(target)] = self._clock()
        self._failed_at.move_to_end(_place(target))
        if len(self._failed_at) > MAX_FAILED:
            self._failed_at.popitem(last=False)

    def answered(self, target: Target) -> None:
        """The target works: forget its failure."""
        self._failed_at.pop(_place(target), None)


def _place(target: Target) -> tuple[str, int, Transport]:
    return target.address, target.port, target.transport
