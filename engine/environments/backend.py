"""What one environment places calls with: lines, trunks and an agent service, shared with no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from engine.agent_service import AgentService
from engine.calls.dial_queue import DialQueue
from engine.processes.pool import WorkerPool
from engine.trunks.trunks import Trunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Everything that belongs to one ``Environment``. ``start`` has it ready for calls; called before the first one."""

    pool: WorkerPool
    dial_queue: DialQueue
    trunks: Trunks
    agents: AgentService | None
    start: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
