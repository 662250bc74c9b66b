"""The control process's handle of the registrar process: restarts it when it dies, kills it when it is silent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from engine.errors import EngineError
from engine.messages.commands import Register, Stop, TrunkAccount
from engine.messages.events import Event
from engine.messages.settings import RegistrarSettings
from engine.processes.supervisor import ChildProcess, Supervisor
from engine.processes.worker_handle import SILENT_SWEEPS

log = logging.getLogger("trunkline.trunks")

_RESTART_S = 1.0
_SWEEP_S = 1.0
_UNREGISTER_S = 6.0


class RegistrarHandle:
    """One registrar at a time, which registers and probes ``trunks``. ``on_event`` gets its events.

    Each start calls ``settings`` again, as for workers. ``on_lost`` is called each time the registrar is gone: until
    the next one is ready, nobody renews its trunks' registrations.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        settings: Callable[[], RegistrarSettings],
        trunks: tuple[TrunkAccount, ...],
        *,
        on_event: Callable[[Event], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._trunks = trunks
        self._on_event = on_event
        self._on_lost = on_lost
        self._child: ChildProcess | None = None
        self._silent = 0
        self._keeping: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Keep a registrar running until ``stop``."""
        self._keeping = asyncio.create_task(self._keep())

    def stop(self) -> None:
        """Have the registrar un-register the trunks and exit."""
        self._stopping.set()
        if self._child is not None:
            self._child.send(Stop())

    async def gone(self) -> None:
        """After ``stop``, wait until the registrar has exited; for six seconds at most."""
        if self._keeping is not None:
            await asyncio.wait({self._keeping}, timeout=_UNREGISTER_S)

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            gone = asyncio.Event()
            try:
                self._child, _ = await self._supervisor.start_ready_child(
                    "engine.worker.registrar", "registrar", self._settings(), on_event=self._hear, on_exit=gone.set
                )
            except EngineError as error:
                log.error("%s", error)
            else:
                self._child.send(Stop() if self._stopping.is_set() else Register(trunks=self._trunks))
                await self._until_gone(self._child, gone)
                self._child = None
                self._on_lost()
                if not self._stopping.is_set():
                    log.error("registrar process died; restarting it")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _RESTART_S)

    async def _until_gone(self, child: ChildProcess, gone: asyncio.Event) -> None:
        """Wait until the registrar exits. A silent registrar is killed, as a worker is."""
        self._silent = 0
        while not gone.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), _SWEEP_S)
            self._silent += 1
            if self._silent > SILENT_SWEEPS:
                log.error("registrar process does not answer; killing it", extra={"pid": child.pid})
                child.kill()

    def _hear(self, event: Event) -> None:
        self._silent = 0
        self._on_event(event)
