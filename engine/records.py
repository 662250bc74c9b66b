"""The engine's record of a call: frozen values, shared by the store, the engine and the API."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NewType

from engine.outcome import Outcome

CallId = NewType("CallId", str)
"""A UUID, the contract's ``id``."""

SipCallId = NewType("SipCallId", str)
"""``CA`` and 32 hex digits, the contract's ``callId``; also the left part of the SIP Call-ID where we choose it."""


AttemptId = NewType("AttemptId", str)
"""The id of one attempt of a call, which is one INVITE. The first has the call's id; later ones add an ordinal."""


def attempt_id_of(call: CallId, ordinal: int) -> AttemptId:
    """The id of a call's attempt; ``ordinal`` counts from 1."""
    return AttemptId(call if ordinal == 1 else f"{call}/{ordinal}")


def call_of(attempt_id: AttemptId) -> CallId:
    """The call to which the attempt belongs."""
    return CallId(attempt_id.partition("/")[0])


class Environment(enum.StrEnum):
    """The environment of a key and of its calls; neither ever sees the other."""

    LIVE = "live"
    TEST = "test"


class Status(enum.StrEnum):
    """The contract's five statuses (voice contract, "Statuses")."""

    INITIATED = "initiated"
    RINGING = "ringing"
    ANSWERED = "answered"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """True when the call is over."""
        return self in (Status.COMPLETED, Status.FAILED)


class AiStatus(enum.StrEnum):
    """The state of the AI side of a call."""

    PENDING = "pending"
    """No agent session was asked for yet: the phone does not ring."""
    CREATED = "created"
    """The agent service holds a session; nobody has joined it."""
    ACTIVE = "active"
    """The agent hears the callee."""
    ENDED = "ended"


class Speaker(enum.StrEnum):
    """Who spoke a transcript line; the value is the line's prefix in ``ai.transcript``."""

    AGENT = "Agent"
    USER = "User"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """The AI fields of a request, validated. ``tools`` are kept as the client wrote them."""

    system_prompt: str
    model: str | None = None
    voice: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    first_speaker: Literal["agent", "user"] = "agent"
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """A validated request for an outbound call. ``agent`` is None for a plain call."""

    from_number: str
    to_number: str
    agent: AgentSettings | None = None
    max_duration_s: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptTurn:
    """One finished turn. ``truncated``: the speaker was interrupted, and only this text was heard."""

    ordinal: int
    speaker: Speaker
    text: str
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AiRecord:
    """The AI side of a call. ``end_reason`` is the agent service's own reason when it gave one."""

    status: AiStatus = AiStatus.PENDING
    ultravox_call_id: str | None = None
    joined_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None
    transcript: tuple[TranscriptTurn, ...] = ()

    @property
    def duration_s(self) -> int:
        """Whole seconds from joining to the end, 0 when never joined or not over."""
        if self.joined_at is None or self.ended_at is None:
            return 0
        return max(0, int((self.ended_at - self.joined_at).total_seconds()))

    def created(self, ultravox_call_id: str) -> AiRecord:
        """The service holds a session."""
        return replace(self, status=AiStatus.CREATED, ultravox_call_id=ultravox_call_id)

    def joined(self, at: datetime) -> AiRecord:
        """The agent hears the callee."""
        return replace(self, status=AiStatus.ACTIVE, joined_at=at)

    def ended(self, at: datetime, reason: str | None = None) -> AiRecord:
        """The AI side is over since ``at``, unless it ended before."""
        return replace(self, status=AiStatus.ENDED, ended_at=self.ended_at or at, end_reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One INVITE through one trunk. ``outcome`` is set when it failed; the last attempt's is also the call's."""

    trunk: str
    sip_call_id: str
    """The SIP Call-ID: the call's own for the first attempt, with a suffix for later ones."""
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """A call as the store holds it. All times are aware UTC."""

    id: CallId
    sip_call_id: SipCallId
    environment: Environment
    request: CallRequest
    provider: str
    trunk: str
    """The trunk used last; before any was used, the first of the route."""
    status: Status
    created_at: datetime
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    ai: AiRecord | None = None
    attempts: tuple[Attempt, ...] = ()
    media: Mapping[str, Any] | None = None
    """Counters of the audio path once the call is over (see ``media.meters``)."""
    api_key_id: str | None = None
    """The key that placed the call; None for the engine's own calls."""

    @property
    def duration_s(self) -> int:
        """Whole seconds from answer to end; 0 when never answered or not over."""
        if self.answered_at is None or self.ended_at is None:
            return 0
        return max(0, int((self.ended_at - self.answered_at).total_seconds()))


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedCall:
    """The fields of a placed call that the guard counts."""

    api_key_id: str
    to_number: str
    created_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Selects the calls of ``environment`` that match every field that is set."""

    environment: Environment
    status: Status | None = None
    from_number: str | None = None
    to_number: str | None = None
    created_after: datetime | None = None
    """At this time or later."""
    created_before: datetime | None = None
    """Before this time. With ``created_after``, adjacent spans have no gap, and no call is in two of them."""
    older_than: tuple[datetime, CallId] | None = None
    """``created_at`` and ``id`` of the last call of the previous page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallChange:
    """One appended row of a call's history. ``kind`` names what happened (``voice.ringing``, ``voice.ai.ended``, …)."""

    call_id: CallId
    kind: str
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyClaim:
    """One use of an ``Idempotency-Key`` header. ``body_digest`` distinguishes the bodies of its requests."""

    key: str
    api_key_id: str
    body_digest: str
