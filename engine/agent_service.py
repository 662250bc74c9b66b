"""The interface of the AI service: it makes sessions for calls, and says why they ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from engine.records import (
    CallRequest,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTerms:
    """The terms of a session. The call joins it when the phone is answered, after ``rings_for_s`` at most."""

    sample_rate_hz: int
    max_duration_s: float
    rings_for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSession:
    """A session that the agent service holds for a call. ``join_url`` is a credential."""

    ultravox_call_id: str
    join_url: str = field(repr=False)
    sample_rate_hz: int


class AgentService(Protocol):
    """The AI service as the control process uses it. Errors are ``media.errors.AgentError``."""

    async def create(self, request: CallRequest, terms: SessionTerms, gave_up: asyncio.Event) -> AgentSession:
        """Create a session. While the service asks us to come back later, wait, but not after ``gave_up`` is set."""
        ...

    def give_back(self, session: AgentSession) -> None:
        """Nobody will join this session. Never raises."""
        ...

    async def end_reason(self, ultravox_call_id: str, timeout_s: float) -> str | None:
        """The service's reason for the session's end; None when it gives none within ``timeout_s``. Never raises."""
        ...
