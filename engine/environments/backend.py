"""What one environment places calls with: lines, trunks and an agent service, shared with no other."""

from __future__ import annotations

from typing import Protocol

from engine.agent_service import AgentService
from engine.calls.dial_queue import DialQueue
from engine.processes.pool import WorkerPool
from engine.trunks.trunks import Trunks


class Backend(Protocol):
    """Everything that belongs to one ``Environment``."""

    @property
    def pool(self) -> WorkerPool: ...

    @property
    def dial_queue(self) -> DialQueue: ...

    @property
    def trunks(self) -> Trunks: ...

    @property
    def agents(self) -> AgentService | None: ...

    async def start(self) -> None:
        """Get ready for calls: before the first one, and quick when it is ready already."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
