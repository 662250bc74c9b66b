"""How a call ended and who ended it: a value, separate from the call's state.

Who decides the outcome, in this order:

1. In the worker, ``WorkerCall._judge`` says how an attempt ended, once its SIP leg and its agent are both closed. If we
   refused the trunk's signalling or media, it is that. If we hung up first, our reason stands: the one that ``Call``
   sent with ``HangUp`` (DELETE, a limit, no agent), or the worker's own (the agent left or failed, no RTP came).
   Otherwise the far end or PJSIP ended it, and ``engine.sip.causes`` reads the SIP status and the Reason header.
2. In the control process, ``Call`` takes the attempt's outcome for its own, unless ``Attempts.fails_over`` finds
   another trunk to try: then it is only that attempt's, as is the silence of a trunk that ``Call`` gives up.
3. ``Call`` decides alone where no worker reports an end: no line came in time (``Attempts.give_up_waiting``), DELETE or
   a shutdown while it waits for a line, the worker died, the far end did not confirm our hang-up, an error of ours.
4. ``Call._finalise`` has the last word, once. ``Attempts.sum_up`` adds how many trunks were tried, and
   ``AgentSide.judge`` corrects "the agent hung up" when the agent service gives another reason for the session's end.

A record that is not final when the process dies gets its outcome from ``Recovery`` at the next start.
"""

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
    """The carrier, or the network to it."""
    ENGINE = "engine"
    """Trunkline itself."""


class Cause(enum.StrEnum):
    """Why a call ended. The values are stable: programs may compare them."""

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
    """How one call, or one attempt, ended.

    ``detail`` is a sentence for people, ``hint`` says what to do about it (may be empty). ``sip_code`` and
    ``sip_reason`` are the final SIP status if one came; ``q850`` is the cause of a Reason header if one came.
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
    """The Retry-After of a refusal (RFC 3261 §20.33): how long the trunk will take no calls."""


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
    """No RTP came from the far end for ``silent_s``. ``ever`` is True when some had come before."""
    if ever:
        detail, hint = f"The far end's audio (RTP) stopped for {silent_s:g} s (sip.rtp_timeout).", ""
    else:
        detail = f"No audio (RTP) came from the far end within {silent_s:g} s (sip.rtp_timeout)."
        hint = "Check that the firewall lets sip.rtp_ports in, and sip.public_address behind NAT."
    return Outcome(by=Party.TRUNK, cause=Cause.RTP_TIMEOUT, detail=detail, hint=hint, retryable=True)


def max_duration(limit_s: float) -> Outcome:
    """The call reached the limit of its request (``maxDuration``), or the engine's default."""
    return Outcome(
        by=Party.CALLER, cause=Cause.MAX_DURATION, detail=f"The call reached its maximum duration of {limit_s:g} s."
    )


def certificate_refused(what: str, hint: str) -> Outcome:
    """The trunk's TLS certificate was refused, so nothing was sent; ``what`` says what is wrong with it."""
    return Outcome(
        by=Party.TRUNK,
        cause=Cause.TRUNK_UNAVAILABLE,
        detail=f"The trunk's certificate was refused (certificate verification failed): {what}.",
        hint=hint,
        retryable=True,
    )


def unreached(kind: str, what: str, hint: str) -> Outcome:
    """Nothing could be sent to the trunk; ``kind`` is the edge's (``engine.edge.common.Unreached``)."""
    if kind == "certificate":
        return certificate_refused(what, hint)
    return Outcome(by=Party.TRUNK, cause=Cause.TRUNK_UNAVAILABLE, detail=what, hint=hint, retryable=True)


def engine_error(what: str) -> Outcome:
    """A failure of the engine itself; ``what`` is a sentence without secrets."""
    return Outcome(
        by=Party.ENGINE, cause=Cause.ENGINE_ERROR, detail=what, hint="Report it with the log.", retryable=True
    )


def agent_failure(cause: Cause, what: str) -> Outcome:
    """The call has no agent; ``what`` is a sentence of the agent service's client, with advice."""
    return Outcome(by=Party.AGENT, cause=cause, detail=what, retryable=cause is not Cause.AGENT_REFUSED)


def held_back(limit: str, waited_s: float) -> Outcome:
    """The call got no line in time; ``limit`` names the settings that held it back, empty if no trunk was up."""
    return Outcome(
        by=Party.ENGINE,
        cause=Cause.NO_CAPACITY if limit else Cause.TRUNK_UNAVAILABLE,
        detail=f"The call waited {waited_s:g} s (sip.queue_timeout) for {limit or 'a trunk that can take calls'}.",
        hint="Place fewer calls at once, or raise that limit." if limit else "`trunkline trunks` says what is wrong.",
        retryable=True,
    )
