"""Precedence over other programs: the kernel's real-time scheduling, for a process whose ticks must not wait."""

from __future__ import annotations

import os
import resource

_LOWEST_PRIORITY = 1
_RUNAWAY_US = 1_000_000
"""A process that computes this long without once waiting for anything is killed: it would keep others from a core."""


def take_precedence() -> bool:
    """Have this process run before ordinary ones as soon as it wakes (SCHED_RR, sched(7)), and not what it forks.

    False when that is not permitted: it needs CAP_SYS_NICE or a limit of real-time priority (RLIMIT_RTPRIO) of 1.
    """
    resource.setrlimit(resource.RLIMIT_RTTIME, (_RUNAWAY_US, _RUNAWAY_US))
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_LOWEST_PRIORITY))
    except PermissionError:
        return False
    return True
