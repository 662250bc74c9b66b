"""A child that writes down what it has of its environment and limits, to the file that its settings name."""

from __future__ import annotations

import json
import os
import resource
import socket
from pathlib import Path

from engine.messages.edge import EdgeSettings


def main(end: socket.socket, settings: EdgeSettings) -> None:
    """The process, from fork to exit."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    seen = {
        "environment": dict(os.environ),
        "no_new_privs": status["NoNewPrivs"],
        "core": resource.getrlimit(resource.RLIMIT_CORE),
    }
    Path(settings.link).write_text(json.dumps(seen))
