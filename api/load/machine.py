"""Where figures were measured: the machine, the interpreter, the PJSIP build, the commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """The same for the life of the process."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "pjsua2": importlib.metadata.version("pjsua2-python"),
        "commit": _commit(),
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The commit, with a star when the tree has changes; the version when this is not a checkout."""
    root = str(Path(__file__).parents[2])
    try:
        command = ["git", "-C", root, "describe", "--always", "--dirty=*", "--abbrev=10", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return importlib.metadata.version("trunkline")
