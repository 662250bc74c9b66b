"""The test environment: simulated carriers paired with workers, and a simulated Ultravox, all on loopback."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.agent_service import AgentSession, SessionTerms
from engine.calls.dial_queue import DialQueue
from engine.calls.pacer import Pacer
from engine.config.settings import SPARE_WORKERS, SipConfig
from engine.config.trunk import TrunkConfig
from engine.errors import EngineError, TrunkUnavailable
from engine.log import LogSettings
from engine.messages.commands import Stop, TrunkAccount
from engine.messages.events import CallEvent, Event
from engine.messages.settings import (
    CarrierReady,
    CarrierSettings,
    SimulatorReady,
    SimulatorSettings,
    StackSettings,
    WorkerSettings,
)
from engine.outcome import Outcome
from engine.pjsip_limits import LINES_PER_INSTANCE
from engine.processes.pool import WorkerPool
from engine.processes.supervisor import ChildProcess, Supervisor
from engine.processes.worker_handle import Child
from engine.records import AttemptId, CallRequest
from engine.sandbox.dialogue import APPOINTMENT
from engine.sandbox.speech import speech
from engine.trunks.health import TrunkHealth
from engine.trunks.trunks import Trunk
from engine.ultravox_service import UltravoxService
from media.ultravox.rest import UltravoxApi

_TRUNK = TrunkConfig(name="sandbox", uri="sip:127.0.0.1", codecs=("PCMU", "PCMA")).trunk(0)
_SIP = SipConfig()
_RATES_HZ = (8_000, 16_000)


class SandboxTrunks:
    """The one trunk of the sandbox. The calls of a worker's slot go to the carrier process of that slot."""

    def __init__(self) -> None:
        self._carriers: set[int] = set()
        self._health = TrunkHealth(registers=False, probe_failures=1, now=lambda: datetime.now(UTC))

    def route(self, caller: str) -> tuple[str, ...]:
        return (_TRUNK.name,)

    def up(self, name: str) -> bool:
        return True

    def get(self, name: str) -> Trunk:
        return _TRUNK

    def account(self, name: str, slot: int) -> TrunkAccount:
        if slot not in self._carriers:
            raise TrunkUnavailable("The sandbox's carrier process died; place the call again.", retry_after_s=2)
        return _TRUNK.account

    def carrier_started(self, slot: int) -> None:
        """The slot's carrier takes calls."""
        self._carriers.add(slot)

    def carrier_gone(self, slot: int) -> None:
        """The slot's carrier process has ended."""
        self._carriers.discard(slot)

    def failed(self, name: str, outcome: Outcome) -> None:
        """Nothing to record: the sandbox's trunk never goes down."""

    def health(self) -> Mapping[str, TrunkHealth]:
        return {_TRUNK.name: self._health}


class SandboxBackend:
    """The test environment's ``Backend``. It starts the far ends for the first call and stops them in ``close``."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        log: LogSettings,
        max_calls: int,
        recordings: Path | None,
        on_event: Callable[[CallEvent], None],
        on_lost: Callable[[AttemptId], None],
    ) -> None:
        self._supervisor = supervisor
        self._log = log
        self._recordings = recordings
        self.trunks = SandboxTrunks()
        self.agents = LateAgents()
        self._folder = ""
        self._carriers = itertools.count(1)
        self._simulator: ChildProcess | None = None
        self._carrier_settings: CarrierSettings | None = None
        self._started: asyncio.Task[None] | None = None
        self.pool = WorkerPool(
            self._start_pair,
            max_calls=max_calls,
            slots=max_calls + SPARE_WORKERS,
            on_event=on_event,
            on_lost=on_lost,
        )
        self.dial_queue = DialQueue(self.pool, self.trunks, Pacer({_TRUNK.name: _TRUNK.limits}))

    async def start(self) -> None:
        """Start the simulated Ultravox and warm up lines; returns at once when both are ready already."""
        if self._started is None:
            self._started = asyncio.create_task(self._start())
        try:
            await asyncio.shield(self._started)
        except EngineError:
            self._started = None  # the next call tries again
            raise

    async def close(self) -> None:
        """Stop the workers and their carriers, then the simulated Ultravox."""
        if self._started is not None:
            await self.pool.close()
            if self._simulator is not None:
                self._simulator.send(Stop())
            await self.agents.aclose()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _start(self) -> None:
        self._folder = self._folder or tempfile.mkdtemp(prefix="trunkline-")  # nobody else may open it
        self._carrier_settings = await self._prepare_voices()
        key = secrets.token_urlsafe(24)
        self._simulator, ready = await self._supervisor.start_ready_child(
            "engine.sandbox.simulator",
            "sandbox Ultravox",
            SimulatorSettings(log=self._log, api_key=key),
            on_event=lambda _: None,
            on_exit=self._simulator_died,
        )
        assert isinstance(ready, SimulatorReady)
        self.agents.use(UltravoxService(UltravoxApi(ready.base_url, key)))
        self.pool.warm_up()

    def _simulator_died(self) -> None:
        # The next call starts another simulator.
        self._started = None

    async def _prepare_voices(self) -> CarrierSettings:
        def say(text: str, rate_hz: int) -> bytes:
            return speech(text, rate_hz, "callee")

        def prepare() -> CarrierSettings:
            return CarrierSettings(
                link="",
                log=self._log,
                account=_TRUNK.account,
                hello={rate_hz: say(APPOINTMENT.hello, rate_hz) for rate_hz in _RATES_HZ},
                sayings={rate_hz: tuple(say(text, rate_hz) for text in APPOINTMENT.callee) for rate_hz in _RATES_HZ},
                recordings=self._recordings,
            )

        return await asyncio.to_thread(prepare)

    async def _start_pair(self, slot: int, on_event: Callable[[Event], None], on_exit: Callable[[], None]) -> Child:
        """Start a worker and its carrier. Both have the same number of lines; when one ends, so does the other."""
        assert self._carrier_settings is not None
        link = str(Path(self._folder) / f"carrier-{next(self._carriers)}")
        carrier, ready = await self._supervisor.start_ready_child(
            "engine.sandbox.carrier",
            f"sandbox carrier {slot}",
            replace(self._carrier_settings, link=link),
            on_event=lambda _: None,
            on_exit=lambda: self.trunks.carrier_gone(slot),
        )
        assert isinstance(ready, CarrierReady)
        self.trunks.carrier_started(slot)

        def worker_gone() -> None:
            carrier.send(Stop())
            on_exit()

        settings = WorkerSettings(
            stack=StackSettings(bind="127.0.0.1", edge=link),
            log=self._log,
            lines=LINES_PER_INSTANCE,
            real_time=_SIP.real_time,
            phase_s=0.0,
            rtp_timeout_s=_SIP.rtp_timeout_s,
        )
        return await self._supervisor.start_child(
            "engine.worker.process", f"sandbox worker {slot}", settings, on_event, worker_gone
        )


class LateAgents:
    """The agent service of an environment whose simulator starts with the first call."""

    def __init__(self) -> None:
        self._agents: UltravoxService | None = None

    def use(self, agents: UltravoxService) -> None:
        """Send all later requests to ``agents``."""
        self._agents = agents

    async def create(self, request: CallRequest, terms: SessionTerms, gave_up: asyncio.Event) -> AgentSession:
        assert self._agents is not None
        return await self._agents.create(request, terms, gave_up)

    def give_back(self, session: AgentSession) -> None:
        assert self._agents is not None
        self._agents.give_back(session)

    async def end_reason(self, ultravox_call_id: str, timeout_s: float) -> str | None:
        assert self._agents is not None
        return await self._agents.end_reason(ultravox_call_id, timeout_s)

    async def aclose(self) -> None:
        """Close the connections to the simulator."""
        if self._agents is not None:
            await self._agents.aclose()
