"""The live environment: the configured trunks, the workers that dial through them, and the registrar process."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from engine.calls.dial_queue import DialQueue
from engine.calls.pacer import Pacer
from engine.config.settings import SPARE_WORKERS, Config
from engine.environments.worker_plan import WorkerPlan
from engine.log import LogSettings
from engine.messages.edge import EdgeSettings
from engine.messages.events import CallEvent, Event, Probed, Registration
from engine.messages.settings import RegistrarSettings, StackSettings, WorkerSettings
from engine.processes.edge_handle import EdgeHandle
from engine.processes.pool import SPARE_LINES, WorkerPool
from engine.processes.registrar_handle import RegistrarHandle
from engine.processes.supervisor import Supervisor
from engine.processes.worker_handle import MOST_COOLING, MOST_COOLING_SRTP, Child
from engine.records import AttemptId
from engine.trunks.trunks import ConfiguredTrunks
from engine.ultravox_service import UltravoxService

log = logging.getLogger("trunkline.trunks")

_INSTANCES_IN_A_MS = 4
"""Whose calls are served one after the other: all at once they share the processor's caches best, and wait for each
other. With 100 calls at 8 kHz, RTP spacing error p99 at the far end, in three runs of each: 4 in each ms 1.4-2.1 ms, 8
2.4-4.5 ms, at the same cost; 16, at 16 kHz, 3.4 ms, a twentieth cheaper."""


class LiveBackend:
    """The live environment's ``Backend``: starts the registrar and the workers; gives each worker's slot its share of
    the RTP ports."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        config: Config,
        agents: UltravoxService | None,
        log: LogSettings,
        on_event: Callable[[CallEvent], None],
        on_lost: Callable[[AttemptId], None],
    ) -> None:
        self._supervisor = supervisor
        self._edges = Supervisor("engine.edge.process")
        self._edge = EdgeHandle(self._edges, self._edge_settings)
        self._config = config
        self.agents = agents
        self._log = log
        self.trunks = ConfiguredTrunks(trunk.trunk(place) for place, trunk in enumerate(config.trunks))
        self._registrar = RegistrarHandle(
            supervisor,
            lambda: RegistrarSettings(stack=self._stack(), log=log),
            self.trunks.watched(),
            on_event=self._hear_of_trunk,
            on_lost=self.trunks.registrations_lost,
        )
        self._started = False
        # An attempt that was given up keeps its line until the transaction is over, up to 32 s (RFC 3261 §17.1.1.2).
        lines = config.sip.max_calls * min(2, len(config.trunks))
        self._plan = plan = WorkerPlan.of(config.sip)
        self._slots = math.ceil(lines / plan.lines) + SPARE_WORKERS
        self.pool = WorkerPool(
            self._start_worker,
            max_calls=config.sip.max_calls,
            slots=self._slots,
            lines_per_worker=plan.lines,
            # Always another worker in hand, which takes the calls that come while a lost one is replaced.
            spare_lines=max(SPARE_LINES, plan.lines + 1),
            most_cooling=MOST_COOLING_SRTP if any(one.srtp != "off" for one in config.trunks) else MOST_COOLING,
            on_event=on_event,
            on_lost=on_lost,
        )
        pacer = Pacer(self.trunks.limits(), creations_per_second=config.ultravox.creations_per_second)
        self.dial_queue = DialQueue(self.pool, self.trunks, pacer)
        if agents is not None:
            agents.on_busy(self.dial_queue.hold_sessions)

    async def start(self) -> None:
        """Have lines warm and trunks registering; does nothing the second time, or without trunks."""
        if self._started or not self._config.trunks:
            return
        self._started = True
        for trunk in self._config.trunks:
            if not trunk.tls.verify:
                log.warning(
                    "TLS certificates are NOT verified: anybody on the way can pose as the trunk, hear its calls and "
                    "read its SRTP keys; set tls.verify to true",
                    extra={"trunk": trunk.name},
                )
        await self._edge.start()
        self.pool.warm_up()
        if self.trunks.watched():
            self._registrar.start()

    async def close(self) -> None:
        """Stop the workers, un-register, and let the agent service go."""
        self._registrar.stop()
        await self.pool.close()
        await self._registrar.gone()
        self._edge.close()
        await self._edges.close()
        if self.agents is not None:
            await self.agents.aclose()

    def _hear_of_trunk(self, event: Event) -> None:
        if not isinstance(event, Registration | Probed) or not self.trunks.note(event):
            return
        health = self.trunks.health()[event.trunk]
        level = logging.INFO if health.up else logging.WARNING
        log.log(level, "trunk %s", health, extra={"trunk": event.trunk, "code": event.code, "reason": event.reason})
        if health.up:
            self.dial_queue.grant_turns()

    async def _start_worker(self, slot: int, on_event: Callable[[Event], None], on_exit: Callable[[], None]) -> Child:
        rtp = self._config.sip.rtp_ports
        share = (rtp.last - rtp.first + 1) // self._slots // 2 * 2
        first = rtp.first + slot * share
        stack = self._stack(rtp_first=first, rtp_last=first + share - 1)
        settings = WorkerSettings(
            stack=stack,
            lines=self._plan.lines,
            log=self._log,
            real_time=self._config.sip.real_time,
            phase_s=slot * self._plan.instances // _INSTANCES_IN_A_MS / 1000,
            rtp_timeout_s=self._config.sip.rtp_timeout_s,
        )
        return await self._supervisor.start_child(
            "engine.worker.process", f"worker {slot}", settings, on_event, on_exit
        )

    def _edge_settings(self, path: str) -> EdgeSettings:
        sip = self._config.sip
        return EdgeSettings(
            link=path,
            bind=sip.bind,
            port=sip.port,
            trunks=tuple(self.trunks.get(trunk.name).account for trunk in self._config.trunks),
            log=self._log,
            public_address=sip.public_address,
            dscp=sip.dscp_sip,
            allow_from=sip.allow_from,
        )

    def _stack(self, *, rtp_first: int = 0, rtp_last: int = 0) -> StackSettings:
        sip = self._config.sip
        return StackSettings(
            bind=sip.bind,
            edge=self._edge.path,
            rtp_source=sip.rtp_source,
            rtp_first=rtp_first,
            rtp_last=rtp_last,
            public_address=sip.public_address,
            dscp_rtp=sip.dscp_rtp,
        )
