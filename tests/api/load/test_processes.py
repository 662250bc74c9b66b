from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from api.load.processes import Family, Usage, descendants, how_many_live, kind_of, pss_kb

_BUSY = """
import setproctitle, sys
setproctitle.setproctitle("trunkline: worker 3")
print(sum(range(10**7)), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """It has used some CPU when it is given to the test."""
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_process_is_known_by_its_title_and_what_it_used_is_counted(worker: subprocess.Popen[bytes]) -> None:
    family = Family(os.getpid())
    usage = family.usage()
    assert kind_of(worker.pid) == "worker"
    assert worker.pid in descendants(os.getpid())
    assert usage["worker"].processes == 1
    assert usage["worker"].cpu_s > 0
    assert usage["worker"].descriptors >= 3
    assert usage["control"].processes == 1
    assert family.pss_kb()["worker"] > 1000


def test_what_a_process_used_stays_counted_when_it_is_gone(worker: subprocess.Popen[bytes]) -> None:
    family = Family(os.getpid())
    before = family.usage()["worker"]
    worker.kill()
    worker.wait()
    after = family.usage()["worker"]
    assert after.cpu_s >= before.cpu_s > 0
    assert (after.processes, after.descriptors) == (0, 0)
    assert how_many_live([worker.pid]) == 0
    assert pss_kb(worker.pid) == 0
    assert Usage.of(worker.pid) == Usage()
