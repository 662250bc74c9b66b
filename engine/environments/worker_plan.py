"""How ``max_calls`` are spread over worker processes, and how many PJSIPs each of them holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from engine.config.settings import SPARE_WORKERS, SipConfig
from engine.pjsip_limits import LINES_PER_INSTANCE

_LARGEST_LOSS = 1 / 6
"""Of ``max_calls``: what goes with one worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """``workers`` are the processes that ``max_calls`` take, with the spare ones; ``instances`` the PJSIPs that each of
    them holds (``engine.pjsip.instances``)."""

    instances: int
    workers: int

    @property
    def lines(self) -> int:
        """How many calls a worker holds."""
        return self.instances * LINES_PER_INSTANCE

    @classmethod
    def of(cls, sip: SipConfig) -> Self:
        """The fewest processes that lose no more than is allowed when one dies."""
        most = min(sip.lines_per_worker, int(sip.max_calls * _LARGEST_LOSS)) // LINES_PER_INSTANCE
        instances = max(1, most)
        return cls(instances=instances, workers=_workers(sip.max_calls, instances))


def _workers(max_calls: int, instances: int) -> int:
    return math.ceil(max_calls / (instances * LINES_PER_INSTANCE)) + SPARE_WORKERS
