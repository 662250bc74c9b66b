"""The live environment: the configured trunks, the workers that dial through them, and the registrar process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from pathlib import Path

from engine.agents import UltravoxAgents
from engine.commands import Register, Stop, TrunkAccount
from engine.config import Config, TrunkConfig
from engine.errors import EngineError
from engine.events import Event, Registration
from engine.log import LogSettings
from engine.name_resolution import nameservers, static_hosts
from engine.pool import ASSUMED_LINES, SPARE_LINES, SPARE_WORKERS, CallEvent, Child, WorkerPool
from engine.process_settings import StackSettings, WorkerSettings
from engine.realm import Realm
from engine.records import CallId
from engine.supervisor import ChildProcess, Supervisor
from engine.trunks import ConfiguredTrunks, Trunk

log = logging.getLogger("trunkline.trunks")

_REGISTRAR_RESTART_S = 1.0
_UNREGISTER_S = 6.0


class LiveRealm:
    """Starts the registrar and the workers; gives each worker's slot its SIP port and its share of the RTP ports."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        config: Config,
        agents: UltravoxAgents | None,
        log: LogSettings,
        on_event: Callable[[CallEvent], None],
        on_lost: Callable[[CallId], None],
    ) -> None:
        self._supervisor = supervisor
        self._config = config
        self._agents = agents
        self._log = log
        self._trunks = ConfiguredTrunks(_trunk(trunk) for trunk in config.trunks)
        self._registrar: ChildProcess | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._started = False
        ports = config.sip.worker_ports
        self._slots = min(ports.last - ports.first + 1, math.ceil(config.sip.max_calls / ASSUMED_LINES) + SPARE_WORKERS)
        self._pool = WorkerPool(
            self._start_worker,
            max_calls=config.sip.max_calls,
            slots=self._slots,
            spare_lines=SPARE_LINES,
            on_event=on_event,
            on_lost=on_lost,
        )

    def realm(self) -> Realm:
        """The live environment's realm."""
        return Realm(pool=self._pool, trunks=self._trunks, agents=self._agents, start=self.start, close=self.close)

    async def start(self) -> None:
        """Have lines warm and trunks registering; does nothing the second time, or without trunks."""
        if self._started or not self._config.trunks:
            return
        self._started = True
        self._pool.warm_up()
        if self._trunks.registering():
            self._watching = asyncio.create_task(self._keep_registrar())

    async def close(self) -> None:
        """Stop the workers, un-register, and let the agent service go."""
        self._closing.set()
        if self._registrar is not None:
            self._registrar.send(Stop())
        await self._pool.close()
        if self._watching is not None:
            await asyncio.wait({self._watching}, timeout=_UNREGISTER_S)
        if self._agents is not None:
            await self._agents.aclose()

    async def _keep_registrar(self) -> None:
        """Run the registrar process, and another one when it died."""
        while not self._closing.is_set():
            gone = asyncio.Event()
            try:
                self._registrar, _ = await self._supervisor.start_ready_child(
                    "engine.registrar",
                    "registrar",
                    WorkerSettings(stack=self._stack(self._config.sip.port), log=self._log),
                    on_event=self._on_registrar_event,
                    on_exit=gone.set,
                )
            except EngineError as error:
                log.error("%s", error)
            else:
                registering = Register(trunks=self._trunks.registering())
                self._registrar.send(Stop() if self._closing.is_set() else registering)
                await gone.wait()
                self._registrar = None
                self._trunks.registrations_lost()
                if not self._closing.is_set():
                    log.error("the registrar process died; it is started again")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _REGISTRAR_RESTART_S)

    def _on_registrar_event(self, event: Event) -> None:
        if isinstance(event, Registration) and self._trunks.registration_changed(event):
            state = "registered" if event.registered else "not registered"
            log.info("trunk %s", state, extra={"trunk": event.trunk, "code": event.code, "reason": event.reason})

    async def _start_worker(self, slot: int, on_event: Callable[[Event], None], on_exit: Callable[[], None]) -> Child:
        ports, rtp = self._config.sip.worker_ports, self._config.sip.rtp_ports
        share = (rtp.last - rtp.first + 1) // self._slots // 2 * 2
        first = rtp.first + slot * share
        stack = self._stack(ports.first + slot, rtp_first=first, rtp_last=first + share - 1)
        settings = WorkerSettings(
            stack=stack,
            log=self._log,
            real_time=self._config.sip.real_time,
            rtp_timeout_s=self._config.sip.rtp_timeout_s,
        )
        return await self._supervisor.start_child("engine.worker", f"worker {slot}", settings, on_event, on_exit)

    def _stack(self, sip_port: int, *, rtp_first: int = 0, rtp_last: int = 0) -> StackSettings:
        sip = self._config.sip
        return StackSettings(
            bind=sip.bind,
            sip_port=sip_port,
            rtp_first=rtp_first,
            rtp_last=rtp_last,
            public_address=sip.public_address,
            nameservers=nameservers(Path("/etc/resolv.conf")),
            hosts=static_hosts(Path("/etc/hosts")),
        )


def _trunk(trunk: TrunkConfig) -> Trunk:
    return Trunk(
        account=TrunkAccount(
            name=trunk.name,
            uri=trunk.uri,
            codecs=trunk.codecs,
            username=trunk.username,
            password=trunk.password.reveal(),
            registrar=trunk.registrar,
            outbound_proxy=trunk.outbound_proxy,
            dtmf=trunk.dtmf,
            reliable_provisional=trunk.reliable_provisional,
            session_timer=trunk.session_timer,
            session_expires_s=trunk.session_expires_s,
            follow_redirects=trunk.redirects == "follow",
        ),
        provider=trunk.provider,
    )
