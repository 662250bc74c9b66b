"""Processes: the fork server and what it forks, each with a pipe to the control process. A death is ordinary."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import EngineError
from engine.messages.codec import FROM_FORK_SERVER, TO_FORK_SERVER, NotAMessage
from engine.messages.commands import Command
from engine.messages.events import Event
from engine.messages.forks import Exited, Spawn, Spawned
from engine.messages.pipe import Pipe, open_pipe
from engine.pjsip_limits import LINES_PER_INSTANCE

log = logging.getLogger("trunkline.supervisor")

WORKER = "engine.worker.process"

_FORK_S = 3.0
"""How long a fork server that has forked before may take to fork."""
_READY_S = 30.0
"""How long a process may take to start: the fork server, of about a second, to its first fork too."""
_LEAVE_S = 12.0
"""How long the fork server may take to leave after its children, which it gives ten seconds."""


_KEPT = re.compile(
    r"PATH|HOME|TMPDIR|TZ|LANG|LANGUAGE|LC_[A-Z]+|LD_LIBRARY_PATH|PYTHON[A-Z]+|SSL_CERT_(FILE|DIR)|OPENBLAS_[A-Z_]+"
    r"|TRUNKLINE_PJSIP_LOG"
)
"""The names of what Python and the libraries read, and the switch of PJSIP's trace."""


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the fork server and its children see of ``environment``: no password and no key.

    They read what the network sends.
    """
    kept = {name: value for name, value in environment.items() if _KEPT.fullmatch(name)}
    return {**kept, "OPENBLAS_NUM_THREADS": "1"}  # numpy must not bring threads to a fork


class ChildProcess:
    """A forked process and the control process's end of its pipe."""

    def __init__(self, pid: int, pipe: Pipe) -> None:
        self.pid = pid
        self._pipe = pipe

    def send(self, command: Command) -> None:
        """Give it a command; never blocks."""
        self._pipe.send(command)

    def kill(self) -> None:
        """End the process at once; its end is told as any other."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close our end of the pipe: the process takes it as the order to leave."""
        self._pipe.close()


class Supervisor:
    """Starts processes through the fork server, and the fork server again when it died.

    ``module`` is imported before the first fork, and its ``prepare`` is called with ``lines_per_worker``: what a worker
    needs of PJSIP (``engine.pjsip.instances``). Other kinds of process are imported when they are first asked for.
    """

    def __init__(self, module: str = WORKER, *, lines_per_worker: int = LINES_PER_INSTANCE) -> None:
        self._module = module
        self._lines_per_worker = lines_per_worker
        self._fork_server: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._has_forked = False
        self._awaiting_pid: dict[int, asyncio.Future[int]] = {}
        self._tokens = itertools.count(1)
        self._starting = asyncio.Lock()
        self._children: set[ChildProcess] = set()

    async def start_child(
        self,
        module: str,
        title: str,
        settings: Any,
        on_event: Callable[[Event], None],
        on_exit: Callable[[], None],
    ) -> ChildProcess:
        """Fork a process that runs ``module.main``. ``on_exit`` is called once, when its end of the pipe is closed.

        Raises ``EngineError`` when the fork server or a descriptor cannot be had. A fork server that hangs is killed.
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise EngineError(f"The process {title!r} could not be started: {error}.") from error
        token = next(self._tokens)
        try:
            with theirs:
                awaiting = await self._ask_for(Spawn(token=token, module=module, title=title), theirs)
            pid = await asyncio.wait_for(awaiting, _FORK_S if self._has_forked else _READY_S)
            self._has_forked = True
        except BaseException as error:
            ours.close()
            if not isinstance(error, OSError):
                raise
            reason: object = error
            if isinstance(error, TimeoutError):
                self._kill_fork_server()
                reason = "the fork server hangs, it is killed"
            raise EngineError(f"The process {title!r} could not be started: {reason}.") from error
        finally:
            self._awaiting_pid.pop(token, None)

        def gone() -> None:
            self._children.discard(child)
            if pipe.broken:
                child.kill()  # it does what it was not made for
            on_exit()

        pipe = await open_pipe(ours, on_event, gone, of_child=False)
        child = ChildProcess(pid, pipe)
        self._children.add(child)
        pipe.send(settings)
        return child

    async def start_ready_child(
        self,
        module: str,
        title: str,
        settings: Any,
        on_event: Callable[[Any], None],
        on_exit: Callable[[], None],
    ) -> tuple[ChildProcess, Any]:
        """Like ``start_child``, but wait for the child's first value and return it too."""
        first: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def hear(value: Any) -> None:
            if first.done():
                on_event(value)
            else:
                first.set_result(value)

        def gone() -> None:
            if not first.done():
                first.set_exception(EngineError(f"The process {title!r} ended before it was ready; its log says why."))
            on_exit()

        child = await self.start_child(module, title, settings, hear, gone)
        try:
            return child, await asyncio.wait_for(first, _READY_S)
        except BaseException as error:
            child.kill()
            if isinstance(error, TimeoutError):
                raise EngineError(f"The process {title!r} was not ready in {_READY_S:g} s; it is killed.") from error
            raise

    async def close(self) -> None:
        """Let the children go, then the fork server, which leaves when they have."""
        for child in self._children:
            child.close()
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
        if self._fork_server is not None:
            try:
                await asyncio.wait_for(self._fork_server.wait(), _LEAVE_S)
            except TimeoutError:
                log.error("the fork server does not leave; it is killed")
                self._kill_fork_server()
                await self._fork_server.wait()
            self._fork_server = None

    async def _ask_for(self, spawn: Spawn, end: socket.socket) -> asyncio.Future[int]:
        """The child's future pid. Restarts the fork server if it has died."""
        request = [TO_FORK_SERVER.encode(spawn)]
        control = await self._ensure_fork_server()
        try:
            socket.send_fds(control, request, [end.fileno()])
        except ConnectionError:
            self._fork_server_died(control)
            socket.send_fds(await self._ensure_fork_server(), request, [end.fileno()])
        awaiting = self._awaiting_pid[spawn.token] = asyncio.get_running_loop().create_future()
        return awaiting

    async def _ensure_fork_server(self) -> socket.socket:
        async with self._starting:
            if self._control is None:
                control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                try:
                    with theirs:
                        self._fork_server = await asyncio.create_subprocess_exec(
                            sys.executable,
                            "-m",
                            "engine.processes.fork_server",
                            str(theirs.fileno()),
                            self._module,
                            str(self._lines_per_worker),
                            env=child_environment(os.environ),
                            pass_fds=[theirs.fileno()],
                            stdin=asyncio.subprocess.DEVNULL,
                        )
                except BaseException:
                    control.close()
                    raise
                asyncio.get_running_loop().add_reader(control, self._hear, control)
                self._control, self._has_forked = control, False
            return self._control

    def _kill_fork_server(self) -> None:
        """End it at once; its end is noticed as any other, and its children live on."""
        assert self._fork_server is not None
        with contextlib.suppress(ProcessLookupError):
            self._fork_server.kill()

    def _hear(self, control: socket.socket) -> None:
        try:
            data = control.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._fork_server_died(control)
            return
        try:
            message = FROM_FORK_SERVER.decode(data)
        except NotAMessage as error:
            log.error("the fork server sent what is no message; it is killed: %s", error)
            self._kill_fork_server()
            return
        match message:
            case Spawned(token=token, pid=pid):
                if (awaiting := self._awaiting_pid.get(token)) is not None and not awaiting.done():
                    awaiting.set_result(pid)
            case Exited(pid=pid, status=status) if status:
                cause = signal.Signals(-status).name if status < 0 else f"status {status}"
                log.error("process %d ended with %s", pid, cause)
            case _:
                pass

    def _fork_server_died(self, control: socket.socket) -> None:
        """Fail the forks that are pending; the next child gets another fork server."""
        asyncio.get_running_loop().remove_reader(control)
        control.close()
        self._control = None
        log.error("the fork server died; another is started when needed")
        for awaiting in self._awaiting_pid.values():
            if not awaiting.done():
                awaiting.set_exception(ConnectionError("the fork server died"))
