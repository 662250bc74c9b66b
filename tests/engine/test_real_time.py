from __future__ import annotations

import signal
import subprocess
import sys

import pytest

TAKE = "from engine.real_time import take_precedence as take; import os, resource; "
SHOW = "print(take(), os.sched_getscheduler(0) == os.SCHED_RR | os.SCHED_RESET_ON_FORK)"
FORBID = "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0)); os.getuid() or os.setuid(65534); "  # root always may


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_reported_precedence_is_what_the_kernel_gives() -> None:
    assert run(TAKE + SHOW).stdout in ("True True\n", "False False\n")


def test_without_permission_the_process_runs_like_any_other() -> None:
    assert run(TAKE + FORBID + SHOW).stdout == "False False\n"


@pytest.mark.alone
def test_a_process_that_runs_away_with_a_processor_is_killed() -> None:
    if "False" in run(TAKE + SHOW).stdout:
        pytest.skip("real-time scheduling is not permitted here")
    assert run(TAKE + "take()\nwhile True: pass").returncode in (-signal.SIGXCPU, -signal.SIGKILL)
