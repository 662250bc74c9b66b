"""What a worker or the registrar tells the control process: frozen values that cross the socket pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.outcome import Outcome
from engine.records import AttemptId, TranscriptTurn


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The process can take work.

    ``lines`` is the build's own call limit (PJSUA_MAX_CALLS), 0 for a registrar; ``real_time``: it has precedence over
    other programs (``engine.real_time``).
    """

    lines: int
    real_time: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteSent:
    """The INVITE is on the wire. ``at_s`` is the worker's monotonic clock."""

    attempt_id: AttemptId
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A provisional response (RFC 3261 §21.1). ``codec_rate_hz`` when it carried an answer we could read."""

    attempt_id: AttemptId
    code: int
    reason: str
    codec_rate_hz: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A 2xx came and our ACK is sent; audio flows from here."""

    attempt_id: AttemptId
    codec: str
    codec_rate_hz: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentJoined:
    """The agent session's WebSocket is open."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpoke:
    """The agent's first audible frame left in RTP (once a call)."""

    attempt_id: AttemptId
    after_answer_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcribed:
    """A turn is final."""

    attempt_id: AttemptId
    turn: TranscriptTurn


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsPressed:
    """A burst of telephone keys passed, from the callee or to it. Which ones is between callee and agent."""

    attempt_id: AttemptId
    count: int
    by_callee: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLeft:
    """The agent session's WebSocket is closed, from whichever side."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """Both sides are closed. Exactly one for each ``Dial``; the last event but for ``LineFree``."""

    attempt_id: AttemptId
    outcome: Outcome
    media: Mapping[str, int | float | str | None]
    unsent: bool = False
    """The worker could send no INVITE, for a reason that is its own: another worker may."""
    line_held: bool = False
    """The far end has not confirmed our hang-up: the line is free with ``LineFree``, otherwise with this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFree:
    """The line of an attempt that ended before is free now."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Once a second from every worker: tick lateness since the last one, and its table of calls.

    ``dials`` counts the ``Dial`` commands it has run: a call dialled by one of them that is neither in ``calls`` nor
    told as ended before is unknown to the worker.
    """

    calls: frozenset[AttemptId]
    dials: int
    late_p99_ms: float
    late_max_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """Once a second from the registrar process, which has nothing else to say for hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A trunk's registration changed (registrar process only). ``expires_s`` is 0 when not registered.

    ``code`` is 0 when the REGISTER could not be sent; ``reason`` is a sentence then, and ``hint`` says what to do.
    """

    trunk: str
    registered: bool
    code: int
    reason: str
    expires_s: int
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A trunk was sent OPTIONS (registrar process only). ``code`` is 408 when no answer came, 0 when it could not be
    sent; ``reason`` is a sentence then."""

    trunk: str
    code: int
    reason: str


CallEvent = (
    InviteSent | Progress | Answered | AgentJoined | AgentSpoke | Transcribed | DigitsPressed | AgentLeft | AttemptEnded
)
"""The events that belong to a call."""
Event = CallEvent | Ready | LineFree | Heartbeat | Alive | Registration | Probed
