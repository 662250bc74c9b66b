"""A child that was taken over: it sends code where data is expected, and stays."""

from __future__ import annotations

import pickle
import socket
import struct
import time

from engine.messages.edge import EdgeSettings


def main(end: socket.socket, settings: EdgeSettings) -> None:
    """The process, from fork to its death."""
    code = pickle.dumps(print)
    end.sendall(struct.pack("!I", len(code)) + code)
    time.sleep(60)
