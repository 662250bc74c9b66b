"""The control process's handle of the edge process: starts it first, and restarts it when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from engine.errors import EngineError, SipError
from engine.messages.edge import EdgeFailed, EdgeReady, EdgeSettings
from engine.processes.supervisor import ChildProcess, Supervisor
from engine.processes.worker_handle import SILENT_SWEEPS

log = logging.getLogger("trunkline.edge")

_RESTART_S = 0.2
_SWEEP_S = 1.0


class EdgeHandle:
    """One edge at a time. Processes with PJSIPs connect to it at ``path``, in a folder that only our user can open."""

    def __init__(self, supervisor: Supervisor, settings: Callable[[str], EdgeSettings]) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._folder = tempfile.mkdtemp(prefix="trunkline-")
        self.path = str(Path(self._folder) / "edge")
        self.port = 0
        self._child: ChildProcess | None = None
        self._gone = asyncio.Event()
        self._silent = 0
        self._keeping: asyncio.Task[None] | None = None
        self._closing = False

    async def start(self) -> None:
        """Start the edge; returns when it listens. Raises ``SipError``, which names the setting to change."""
        await self._start()
        self._keeping = asyncio.create_task(self._keep())

    def close(self) -> None:
        """Stop the edge. To be called when every process with PJSIPs has left: the edge sends their last messages."""
        self._closing = True
        if self._keeping is not None:
            self._keeping.cancel()
        if self._child is not None:
            self._child.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _start(self) -> None:
        self._gone = asyncio.Event()
        self._child, first = await self._supervisor.start_ready_child(
            "engine.edge.process", "edge", self._settings(self.path), self._hear, self._gone.set
        )
        if isinstance(first, EdgeFailed):
            raise SipError(first.why)
        assert isinstance(first, EdgeReady)
        self.port, self._silent = first.port, 0

    async def _keep(self) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), _SWEEP_S)
            if not self._gone.is_set():
                self._silent += 1
                if self._silent > SILENT_SWEEPS and self._child is not None:
                    log.error("edge process does not answer; killing it", extra={"pid": self._child.pid})
                    self._child.kill()
                continue
            log.error("edge process died; restarting it, live calls go on")
            try:
                await self._start()
            except (EngineError, SipError) as error:
                log.error("%s", error)
                await asyncio.sleep(_RESTART_S)

    def _hear(self, event: object) -> None:
        self._silent = 0
