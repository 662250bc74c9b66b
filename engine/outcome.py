"""How a call ended and by whose doing: a type of its own, apart from where the call is; what the network said is read
by ``engine.sip.causes``."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Party(enum.StrEnum):
    """Who ended the call."""

    CALLER = "caller"
    """The API's client: DELETE, or the limit it set."""
    CALLEE = "callee"
    """The person or machine that was called."""
    AGENT = "agent"
    """The AI agent, or the service it runs on."""
    TRUNK = "trunk"
    """The carrier, or the way to it."""
    ENGINE = "engine"
    """Trunkline itself."""


class Cause(enum.StrEnum):
    """Why a call ended; stable, for programs to compare."""

    CALLEE_HANGUP = "callee-hangup"
    CALLER_HANGUP = "caller-hangup"
    AGENT_HANGUP = "agent-hangup"
    MAX_DURATION = "max-duration"
    CANCELED = "canceled"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    REJECTED = "rejected"
    INVALID_NUMBER = "invalid-number"
    UNREACHABLE = "unreachable"
    AUTH_FAILED = "auth-failed"
    NOT_ACCEPTABLE = "not-acceptable"
    TRUNK_UNAVAILABLE = "trunk-unavailable"
    TRUNK_TIMEOUT = "trunk-timeout"
    SRTP_REFUSED = "srtp-refused"
    SESSION_EXPIRED = "session-expired"
    RTP_TIMEOUT = "rtp-timeout"
    CALL_FAILED = "call-failed"
    AGENT_REFUSED = "agent-refused"
    AGENT_BUSY = "agent-busy"
    AGENT_UNREACHABLE = "agent-unreachable"
    AGENT_LOST = "agent-lost"
    WORKER_LOST = "worker-lost"
    ENGINE_RESTARTED = "engine-restarted"
    ENGINE_SHUTDOWN = "engine-shutdown"
    ENGINE_ERROR = "engine-error"
    NO_CAPACITY = "no-capacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The one end of one call.

    ``detail`` is a sentence for people, ``hint`` says what to do about it (may be empty). ``sip_code`` and
    ``sip_reason`` are the final SIP status when one came; ``q850`` the cause of a Reason header when one came.
    """

    by: Party
    cause: Cause
    detail: str
    hint: str = ""
    retryable: bool = False
    sip_code: int | None = None
    sip_reason: str | None = None
    q850: int | None = None
    retry_after_s: int | None = None
    """The Retry-After of a refusal (RFC 3261 §20.33): the trunk takes nothing for so long."""


CALLEE_HANGUP = Outcome(by=Party.CALLEE, cause=Cause.CALLEE_HANGUP, detail="The callee hung up.")
CALLER_HANGUP = Outcome(by=Party.CALLER, cause=Cause.CALLER_HANGUP, detail="The call was hung up by DELETE.")
CANCELED = Outcome(
    by=Party.CALLER, cause=Cause.CANCELED, detail="The call was cancelled by DELETE before it was answered."
)
AGENT_HANGUP = Outcome(by=Party.AGENT, cause=Cause.AGENT_HANGUP, detail="The agent ended the call.")
RING_TIMEOUT = Outcome(
    by=Party.CALLEE,
    cause=Cause.NO_ANSWER,
    detail="The callee did not answer within the ring time-out (sip.ring_timeout).",
    hint="Try again later.",
    retryable=True,
)
TRUNK_SILENT = Outcome(
    by=Party.TRUNK,
    cause=Cause.TRUNK_TIMEOUT,
    detail="The trunk did not ring the phone in time, or did not answer our INVITE at all.",
    hint="Check uri of the trunk, the firewall and the route to it.",
    retryable=True,
)
NOT_ENCRYPTED = Outcome(
    by=Party.TRUNK,
    cause=Cause.SRTP_REFUSED,
    detail="The trunk would not encrypt the audio, and srtp is required; no audio was sent.",
    hint="Ask the carrier for SRTP (SDES, RTP/SAVP), or set srtp of the trunk to optional.",
)
LEG_LOST = Outcome(
    by=Party.TRUNK,
    cause=Cause.CALL_FAILED,
    detail="The connection to the trunk was lost during the call.",
    retryable=True,
)
SESSION_EXPIRED = Outcome(
    by=Party.TRUNK,
    cause=Cause.SESSION_EXPIRED,
    detail="The trunk did not refresh the session, or did not answer our refresh (RFC 4028).",
    hint="A proxy on the way may have lost the call; ask the carrier, or change session_timer of the trunk.",
    retryable=True,
)
AGENT_LOST = Outcome(
    by=Party.AGENT,
    cause=Cause.AGENT_LOST,
    detail="The connection to the AI service was lost during the call.",
    hint="If it repeats, check the network to ultravox.base_url.",
    retryable=True,
)
WORKER_LOST = Outcome(
    by=Party.ENGINE,
    cause=Cause.WORKER_LOST,
    detail="The process that carried the call died.",
    hint="The engine goes on; place the call again. If it repeats, report it with the log.",
    retryable=True,
)
ENGINE_RESTARTED = Outcome(
    by=Party.ENGINE,
    cause=Cause.ENGINE_RESTARTED,
    detail="The engine stopped while the call was live and found it when it started again.",
    retryable=True,
)
ENGINE_SHUTDOWN = Outcome(
    by=Party.ENGINE, cause=Cause.ENGINE_SHUTDOWN, detail="The engine was shut down during the call.", retryable=True
)


def rtp_timeout(silent_s: float, *, ever: bool) -> Outcome:
    """Nothing came from the far end for so long; ``ever``: before that, something had."""
    if ever:
        detail, hint = f"The far end's audio (RTP) stopped for {silent_s:g} s (sip.rtp_timeout).", ""
    else:
        detail = f"No audio (RTP) came from the far end within {silent_s:g} s (sip.rtp_timeout)."
        hint = "Check that the firewall lets sip.rtp_ports in, and sip.public_address behind NAT."
    return Outcome(by=Party.TRUNK, cause=Cause.RTP_TIMEOUT, detail=detail, hint=hint, retryable=True)


def max_duration(limit_s: float) -> Outcome:
    """The call reached the limit its request set (``maxDuration``), or the engine's own."""
    return Outcome(
        by=Party.CALLER, cause=Cause.MAX_DURATION, detail=f"The call reached its maximum duration of {limit_s:g} s."
    )


def certificate_refused(what: str, hint: str) -> Outcome:
    """The trunk's TLS certificate was not accepted, so nothing was sent; ``what`` is wrong with it."""
    return Outcome(
        by=Party.TRUNK,
        cause=Cause.TRUNK_UNAVAILABLE,
        detail=f"The trunk's certificate was refused (certificate verification failed): {what}.",
        hint=hint,
        retryable=True,
    )


def engine_error(what: str) -> Outcome:
    """Something of ours went wrong; ``what`` is a sentence without secrets."""
    return Outcome(
        by=Party.ENGINE, cause=Cause.ENGINE_ERROR, detail=what, hint="Report it with the log.", retryable=True
    )


def agent_failure(cause: Cause, what: str) -> Outcome:
    """The AI side could not be had; ``what`` is the client's own sentence, setting and advice included."""
    return Outcome(by=Party.AGENT, cause=cause, detail=what, retryable=cause is not Cause.AGENT_REFUSED)


def held_back(limit: str, waited_s: float) -> Outcome:
    """The call's turn did not come in time; ``limit`` names the settings that held it, none when no trunk was up."""
    return Outcome(
        by=Party.ENGINE,
        cause=Cause.NO_CAPACITY if limit else Cause.TRUNK_UNAVAILABLE,
        detail=f"The call waited {waited_s:g} s (sip.queue_timeout) for {limit or 'a trunk that can take calls'}.",
        hint="Place fewer calls at once, or raise that limit." if limit else "`trunkline trunks` says what is wrong.",
        retryable=True,
    )
