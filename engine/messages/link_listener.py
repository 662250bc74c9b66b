"""Where processes of PJSIPs attach: a UNIX SEQPACKET socket that only processes of our own user may connect to."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

_WAITING: Final = 128
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


def take_links(path: str, attached: Callable[[socket.socket], None]) -> None:
    """Listen at ``path`` for as long as the running loop runs; ``attached`` gets our end of each new link.

    The folder of ``path`` must be private (0700). Raises ``OSError``.
    """
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(_WAITING)
    listener.setblocking(False)

    def accept() -> None:
        try:
            end, _ = listener.accept()
        except OSError:
            return
        credentials = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(credentials)[1] == os.getuid():
            attached(end)
        else:
            end.close()

    asyncio.get_running_loop().add_reader(listener, accept)
