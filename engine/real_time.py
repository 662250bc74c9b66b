"""Real-time scheduling: gives a process whose ticks must not wait precedence over other programs."""

from __future__ import annotations

import os
import resource

_LOWEST_PRIORITY = 1
_RUNAWAY_US = 1_000_000
"""The kernel kills a process that computes this long without waiting once: it would keep others from a core."""


def take_precedence() -> bool:
    """Run this process before ordinary ones as soon as it wakes (SCHED_RR, sched(7)). Its children do not inherit this.

    False when it is not permitted: it needs CAP_SYS_NICE or a limit of real-time priority (RLIMIT_RTPRIO) of 1.
    """
    resource.setrlimit(resource.RLIMIT_RTTIME, (_RUNAWAY_US, _RUNAWAY_US))
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_LOWEST_PRIORITY))
    except PermissionError:
        return False
    return True
