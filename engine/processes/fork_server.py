"""The clean parent: a small process without threads that imports what its children need and forks them on request.

The control process has threads (the store's) and must not fork. It starts this module once, asks for a child by sending
one datagram with one descriptor, and hears of the child's pid, and later of its exit, by datagrams back. Forking takes
milliseconds and the imports' memory is shared, for it is frozen out of the garbage collector's reach beforehand.

``multiprocessing``'s forkserver with a preload is less code, but does less. Measured, a worker is ready after 16 ms
here and 36 there, with 10.1 MB of its own (PSS) instead of 12.9, and no resource tracker of 7 MB beside it. There
``start()`` blocks the caller's loop: for 3 ms, for 0.6 s at the first and after its server died, for good when the
server hangs. When its server dies, children that live on are reported as ended with status 255. It passes descriptors
and exit statuses as well as this one, but Ctrl-C in the terminal ends the children, a TERM to the group the server, and
a preload gets no argument.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import resource
import selectors
import signal
import socket
import sys
from typing import NoReturn

import setproctitle

from engine.errors import EngineError
from engine.messages.codec import FROM_FORK_SERVER, TO_FORK_SERVER
from engine.messages.forks import Exited, Spawn, Spawned
from engine.messages.pipe import receive

_DATAGRAM_SIZE = 4096
_LAST_CALLS_S = 10


_NO_NEW_PRIVILEGES = 38
"""``PR_SET_NO_NEW_PRIVS`` (prctl(2))."""


def main(control_fd: int, module: str, lines_per_worker: int) -> NoReturn:
    """Import ``module`` ahead of the first request, then serve until the control process closes its end; the children
    notice that by themselves."""
    setproctitle.setproctitle("trunkline: fork-server")
    _confine()
    # The terminal's Ctrl-C and a service manager's TERM reach the whole group: the control process decides, not they.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        importlib.import_module(module).prepare(lines_per_worker)
    except EngineError as error:
        sys.exit(f"trunkline: {error}")
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=control_fd)
    wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wakeup_read, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if wakeup_read in ready:
                os.read(wakeup_read, 4096)
                _reap(control)
            if control in ready:
                try:
                    data, fds, _, _ = socket.recv_fds(control, _DATAGRAM_SIZE, 1)
                except ConnectionError:
                    data = b""
                if not data:
                    _leave_last()
                _fork(control, TO_FORK_SERVER.decode(data), fds[0], (selector, wakeup_read, wakeup_write))


def _confine() -> None:
    """Give up what no child needs, for them too: set-user-ID programs, and dumps of memory with call audio and keys."""
    if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _leave_last() -> NoReturn:
    """Leave as the last one: the children notice the control process's end by themselves, and end their calls first."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_LAST_CALLS_S)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            os._exit(0)


def _reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(control, Exited(pid=pid, status=os.waitstatus_to_exitcode(status)))


def _tell(control: socket.socket, value: object) -> None:
    try:
        control.send(FROM_FORK_SERVER.encode(value))
    except (BrokenPipeError, ConnectionError):
        os._exit(0)


def _fork(control: socket.socket, spawn: Spawn, fd: int, parents: tuple[selectors.BaseSelector, int, int]) -> None:
    if spawn.module not in sys.modules:
        importlib.import_module(spawn.module)  # here, not in the child: the next one of its kind shares it
        gc.freeze()
    pid = os.fork()
    if pid:
        os.close(fd)
        _tell(control, Spawned(token=spawn.token, pid=pid))
        return
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    selector, *pipe = parents
    selector.close()
    for inherited in (control.detach(), *pipe):
        os.close(inherited)
    setproctitle.setproctitle(f"trunkline: {spawn.title}")
    status = 1
    try:
        end = socket.socket(fileno=fd)
        importlib.import_module(spawn.module).main(end, receive(end))
        status = 0
    except BaseException:  # noqa: BLE001 - the child's last frame: tell, then leave without running the parent's exits
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
