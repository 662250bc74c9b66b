"""One load run from start to end: starts the far ends and the engine, places calls, and gathers the evidence."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
import numpy as np

from api.load.caller import Caller, PlacedCall
from api.load.child import Peer, child, python, until
from api.load.engine_process import Engine, MakeKey, Ports, configuration, engine, lines_in_use, lines_of
from api.load.packets import PACKET, Packets
from api.load.plan import Plan, Running
from api.load.ports import bound_udp_ports, port_block
from api.load.processes import Family, Usage, how_many_live
from api.load.signalling import Signalling
from api.load.sipp import Sipp, require_sipp, sipp

_SAMPLE_S: Final = 1.0
_SETTLE_S: Final = 5.0
_TIMEOUT: Final = httpx.Timeout(30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The figures at one moment of the run."""

    at_ns: int
    after_s: float
    """The time since the run began."""
    live: int
    placed: int
    usage: Mapping[str, Usage]
    """The engine's usage, by kind of process."""
    kit_cpu_s: Mapping[str, float]
    """The load kit's own usage, by name of the process."""
    rtp: Mapping[str, Any]
    agent: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Evidence:
    """Everything that was gathered for the report."""

    plan: Plan
    kit: dict[str, int] = field(default_factory=lambda: {"driver": os.getpid()})
    """The process ids of the load kit itself."""
    began_ns: int = 0
    samples: list[Sample] = field(default_factory=list)
    calls: list[PlacedCall] = field(default_factory=list)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    driver_late_ms: list[float] = field(default_factory=list)
    signalling: Mapping[str, Signalling] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    packets: Packets = field(default_factory=lambda: np.zeros(0, PACKET))
    kernel_drops: int = 0
    agent: Mapping[str, Any] = field(default_factory=dict)
    pss_kb: Mapping[str, int] = field(default_factory=dict)
    idle_pss_kb: Mapping[str, int] = field(default_factory=dict)
    pss_calls: int = 0
    leaks: dict[str, int] = field(default_factory=dict)


Watch = Callable[[Sample], None]


async def run(plan: Plan, make_key: MakeKey, watch: Watch, *, running: Running | None = None) -> Evidence:
    """Load an engine of our own, or ``running``. Raises ``LoadFailed``."""
    require_sipp()
    evidence = Evidence(plan=plan)
    lines = lines_of(plan)
    with TemporaryDirectory(prefix="trunkline-load-") as name, port_block(Ports.needed(lines)) as first:
        folder, ports = Path(name), Ports(first=first, lines=lines)
        async with AsyncExitStack() as stack:
            rtp, rtp_port = await _rtp_peer(stack, folder)
            agent, agent_access = await _agent(stack, folder, running) if not plan.plain else (None, ("", ""))
            sip_port = running.sip_port if running else ports.sipp
            far_end = await stack.enter_async_context(
                sipp(
                    plan.scenario_file(),
                    folder,
                    port=sip_port,
                    control=ports.sipp_control,
                    own_media=ports.sipp_media,
                    rtp=rtp_port,
                )
            )
            evidence.kit |= {"rtp": rtp.pid, "sipp": far_end.pid, **({"agent": agent.pid} if agent is not None else {})}
            async with _engine(plan, ports, folder, agent_access, make_key, running) as target:
                await _load(evidence, target, rtp, agent, watch)
                pids = target.family.pids() if target.family is not None else set[int]()
                await until(lambda: not bound_udp_ports(ports.rtp), _SETTLE_S)
                evidence.leaks["rtp_ports"] = len(bound_udp_ports(ports.rtp))
            if running is None:
                await until(lambda: not how_many_live(pids), _SETTLE_S)
                evidence.leaks["processes"] = how_many_live(pids)
                evidence.leaks["ports_after_stop"] = len(bound_udp_ports(ports.engine))
            await _gather(evidence, folder, far_end, rtp, agent)
    return evidence


async def _load(evidence: Evidence, target: Engine, rtp: Peer, agent: Peer | None, watch: Watch) -> None:
    plan, family = evidence.plan, target.family
    headers = {"Authorization": f"Bearer {target.key}"}
    limits = httpx.Limits(max_connections=plan.calls + 10, max_keepalive_connections=plan.calls + 10)
    async with httpx.AsyncClient(
        base_url=target.url, headers=headers, timeout=_TIMEOUT, limits=limits, trust_env=False
    ) as http:
        caller = Caller(http, calls=plan.calls, cps=plan.cps, call_s=plan.lasts_s, plain=plan.plain)
        evidence.idle_pss_kb = await asyncio.to_thread(family.pss_kb) if family is not None else {}
        evidence.began_ns = time.time_ns()
        sampling = asyncio.create_task(_sample(evidence, caller, family, (rtp, agent), watch))
        weighing = asyncio.create_task(_weigh(evidence, caller, family))
        try:
            await caller.run(plan.seconds)
            await caller.final_records()
            evidence.leaks["lines"] = await lines_in_use(http)
        finally:
            sampling.cancel()
            weighing.cancel()
        evidence.calls, evidence.outcomes, evidence.driver_late_ms = caller.placed, caller.outcomes(), caller.late_ms


async def _sample(
    evidence: Evidence, caller: Caller, family: Family | None, peers: tuple[Peer, Peer | None], watch: Watch
) -> None:
    """Take a sample once a second; its cost falls on this process, not the engine."""
    rtp, agent = peers
    loop = asyncio.get_running_loop()
    next_s = loop.time()
    while True:
        now_ns = time.time_ns()
        sample = Sample(
            at_ns=now_ns,
            after_s=(now_ns - evidence.began_ns) / 1e9,
            live=len(caller.live),
            placed=len(caller.placed),
            usage=family.usage() if family is not None else {},
            kit_cpu_s={name: Usage.of(pid).cpu_s for name, pid in evidence.kit.items()},
            rtp=dict(rtp.latest),
            agent=dict(agent.latest) if agent is not None else {},
        )
        evidence.samples.append(sample)
        watch(sample)
        next_s = max(next_s + _SAMPLE_S, loop.time() + _SAMPLE_S / 2)
        await asyncio.sleep(next_s - loop.time())


async def _weigh(evidence: Evidence, caller: Caller, family: Family | None) -> None:
    """Read the memory once, when all calls have been up for a while."""
    plan = evidence.plan
    await asyncio.sleep(plan.ramp_s + (plan.seconds - plan.ramp_s) * 0.8)
    if family is not None:
        evidence.pss_calls = len(caller.live)
        evidence.pss_kb = await asyncio.to_thread(family.pss_kb)


async def _gather(evidence: Evidence, folder: Path, far_end: Sipp, rtp: Peer, agent: Peer | None) -> None:
    evidence.kernel_drops = (await rtp.finish()).get("kernel_drops", 0)
    evidence.packets = np.fromfile(folder / "packets", PACKET)
    if agent is not None:
        await agent.finish()
        evidence.agent = json.loads((folder / "agent.json").read_text())
    evidence.signalling, evidence.complaints = far_end.calls(), far_end.complaints()


async def _rtp_peer(stack: AsyncExitStack, folder: Path) -> tuple[Peer, int]:
    command = python("api.load.rtp_peer", str(folder / "packets"))
    peer = Peer(
        await stack.enter_async_context(child(command, folder, "rtp", far_end=True, ask=True)), folder / "rtp.log"
    )
    return peer, int((await peer.first())["port"])


async def _agent(stack: AsyncExitStack, folder: Path, running: Running | None) -> tuple[Peer, tuple[str, str]]:
    """The agent's process, and the URL and key of its Ultravox."""
    key = running.agent_key if running else secrets.token_urlsafe(24)
    command = python("api.load.agent", str(folder / "agent.json"))
    peer = Peer(
        await stack.enter_async_context(child(command, folder, "agent", far_end=True, ask=True)), folder / "agent.log"
    )
    first = await peer.first({"port": running.agent_port if running else 0, "api_key": key})
    return peer, (first["base_url"], key)


@asynccontextmanager
async def _engine(
    plan: Plan, ports: Ports, folder: Path, agent: tuple[str, str], make_key: MakeKey, running: Running | None
) -> AsyncIterator[Engine]:
    if running is not None:
        yield Engine(url=running.url, key=running.key, family=Family(running.pid) if running.pid else None)
        return
    async with engine(configuration(plan, ports, folder, agent), folder, make_key) as started:
        yield started
