"""What a call needs of an AI service: a session, and why it ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from engine.records import (
    CallRequest,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTerms:
    """What a call asks of its session, which is joined when the phone is answered: after ``rings_for_s`` at most."""

    sample_rate_hz: int
    max_duration_s: float
    rings_for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSession:
    """A session the agent service holds for a call. ``join_url`` is a credential."""

    ultravox_call_id: str
    join_url: str = field(repr=False)
    sample_rate_hz: int


class AgentService(Protocol):
    """The AI service as the control process uses it. Errors are ``media.errors.AgentError``."""

    async def create(self, request: CallRequest, terms: SessionTerms, gave_up: asyncio.Event) -> AgentSession:
        """Have a session made; while the service asks to come back later, wait, but not after ``gave_up`` is set."""
        ...

    def give_back(self, session: AgentSession) -> None:
        """Nobody will join this session. Never raises."""
        ...

    async def end_reason(self, ultravox_call_id: str, timeout_s: float) -> str | None:
        """Why the service says the session ended; None when it cannot say within ``timeout_s``. Never raises."""
        ...
