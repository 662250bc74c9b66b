"""How a call ended and by whose doing: a type of its own, apart from where the call is.

One table maps what the network said (SIP status, RFC 3261 §21; Q.850 cause in a Reason header, RFC 3326) to a stable
cause and a sentence a person understands. The Reason header, when the far end sends one, wins over the SIP status.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, replace


class Party(enum.StrEnum):
    """Whose doing the end was."""

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
    """Why a call ended; stable, fit for programs."""

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


def _failed(by: Party, cause: Cause, detail: str, hint: str = "", *, retryable: bool = False) -> Outcome:
    return Outcome(by=by, cause=cause, detail=detail, hint=hint, retryable=retryable)


_BUSY = _failed(Party.CALLEE, Cause.BUSY, "The callee is busy.", "Try again later.", retryable=True)
_NO_ANSWER = _failed(Party.CALLEE, Cause.NO_ANSWER, "The callee did not answer.", "Try again later.", retryable=True)
_REJECTED = _failed(Party.CALLEE, Cause.REJECTED, "The callee declined the call.", "Do not call again at once.")
_INVALID = _failed(
    Party.TRUNK,
    Cause.INVALID_NUMBER,
    "The trunk knows no such number.",
    "Check the number, and where the trunk can call.",
)
_UNREACHABLE = _failed(
    Party.CALLEE, Cause.UNREACHABLE, "The callee's phone cannot be reached.", "Try again later.", retryable=True
)
_TRUNK_AUTH = _failed(
    Party.TRUNK,
    Cause.AUTH_FAILED,
    "The trunk did not accept our credentials.",
    "Check username and password of the trunk in the configuration.",
)
_TRUNK_REFUSED = _failed(
    Party.TRUNK,
    Cause.REJECTED,
    "The trunk refused the call.",
    "Check that the trunk allows this destination and this caller number, and its username and password.",
)
_TRUNK_DOWN = _failed(
    Party.TRUNK,
    Cause.TRUNK_UNAVAILABLE,
    "The trunk cannot take calls now.",
    "Try again later; if it goes on, ask the carrier.",
    retryable=True,
)
_NOT_ACCEPTABLE = _failed(
    Party.TRUNK,
    Cause.NOT_ACCEPTABLE,
    "The far end accepts none of the codecs we offer.",
    "Check codecs of the trunk in the configuration.",
)
_OTHER = _failed(Party.TRUNK, Cause.CALL_FAILED, "The trunk ended the attempt.", "The SIP status says more.")
TRUNK_SILENT = _failed(
    Party.TRUNK,
    Cause.TRUNK_TIMEOUT,
    "The trunk did not ring the phone in time, or did not answer our INVITE at all.",
    "Check uri of the trunk, the firewall and the route to it.",
    retryable=True,
)

NOT_ENCRYPTED = _failed(
    Party.TRUNK,
    Cause.SRTP_REFUSED,
    "The trunk would not encrypt the audio, and srtp is required; no audio was sent.",
    "Ask the carrier for SRTP (SDES, RTP/SAVP), or set srtp of the trunk to optional.",
)
_REDIRECTED = _failed(
    Party.TRUNK,
    Cause.CALL_FAILED,
    "The trunk redirected the call, and it was not followed.",
    "When that is expected, see redirects of the trunk in the configuration.",
)
_REQUEST_TIMEOUT, _NO_SUCH_CALL = 408, 481

_BY_SIP: dict[int, Outcome] = {
    **dict.fromkeys((300, 301, 302, 305, 380), _REDIRECTED),
    401: _TRUNK_AUTH,
    402: _TRUNK_REFUSED,
    403: _TRUNK_REFUSED,
    404: _INVALID,
    406: _NOT_ACCEPTABLE,
    407: _TRUNK_AUTH,
    408: _NO_ANSWER,
    410: _INVALID,
    415: _NOT_ACCEPTABLE,
    **dict.fromkeys((428, 433, 436, 437, 438), _TRUNK_REFUSED),
    480: _NO_ANSWER,
    484: _INVALID,
    485: _INVALID,
    486: _BUSY,
    487: _failed(Party.TRUNK, Cause.CANCELED, "The attempt was cancelled on the way."),
    488: _NOT_ACCEPTABLE,
    600: _BUSY,
    603: _REJECTED,
    604: _INVALID,
    606: _NOT_ACCEPTABLE,
    607: _REJECTED,
    608: _TRUNK_REFUSED,
}
"""SIP final status to what it means for the caller.

RFC 3261 §21; 428, 436 to 438 RFC 8224; 433 RFC 5079; 607 RFC 8197; 608 RFC 8688.
"""

_BY_Q850: dict[int, Outcome] = {
    1: _INVALID,
    2: _TRUNK_DOWN,
    3: _INVALID,
    5: _INVALID,
    17: _BUSY,
    18: _NO_ANSWER,
    19: _NO_ANSWER,
    20: _UNREACHABLE,
    21: _REJECTED,
    22: _INVALID,
    24: _REJECTED,
    25: _TRUNK_DOWN,
    27: _UNREACHABLE,
    28: _INVALID,
    29: _TRUNK_REFUSED,
    34: _TRUNK_DOWN,
    38: _TRUNK_DOWN,
    41: _TRUNK_DOWN,
    42: _TRUNK_DOWN,
    44: _TRUNK_DOWN,
    47: _TRUNK_DOWN,
    **dict.fromkeys((50, 52, 55, 57), _TRUNK_REFUSED),
    58: _NOT_ACCEPTABLE,
    65: _NOT_ACCEPTABLE,
    88: _NOT_ACCEPTABLE,
    102: _TRUNK_DOWN,
    111: _TRUNK_DOWN,
}
"""Q.850 causes that say more than the SIP status they come with; 16 (normal) and 31, 127 (unspecified) do not."""


def refusal(
    sip_code: int,
    sip_reason: str,
    q850: int | None = None,
    *,
    retry_after_s: int | None = None,
    by_remote: bool = True,
) -> Outcome:
    """The outcome of a call that a final response (or, not ``by_remote``, our own stack) ended before any answer."""
    if not by_remote:
        if _BY_SIP.get(sip_code) is _NOT_ACCEPTABLE:
            return replace(_NOT_ACCEPTABLE, detail="The far end answered with none of the codecs we offered.")
        base = TRUNK_SILENT if sip_code == 408 else _TRUNK_DOWN
        if sip_code != 408:
            base = replace(base, detail=f"The trunk could not be reached: {sip_reason or 'transport error'}.")
        return base
    base = _BY_Q850.get(q850 or 0) or _BY_SIP.get(sip_code) or (_TRUNK_DOWN if 500 <= sip_code < 600 else _OTHER)
    return replace(base, sip_code=sip_code, sip_reason=sip_reason or None, q850=q850, retry_after_s=retry_after_s)


CONCERNS_TRUNK = frozenset((401, 402, 403, 407, 408, *range(500, 600)))
"""The SIP statuses that may speak of the trunk; any other speaks of the callee or of the request."""


def trunk_failed(outcome: Outcome, codes: Collection[int]) -> bool:
    """Whether another trunk may do better: no answer, no way there, or a status of ``codes``, unless a Q.850 cause
    beside it tells of the callee."""
    if outcome.sip_code is None:
        return outcome.cause in (Cause.TRUNK_TIMEOUT, Cause.TRUNK_UNAVAILABLE)
    return outcome.sip_code in codes and _BY_Q850.get(outcome.q850 or 0, _TRUNK_DOWN) is _TRUNK_DOWN


CALLEE_HANGUP = Outcome(by=Party.CALLEE, cause=Cause.CALLEE_HANGUP, detail="The callee hung up.")
CALLER_HANGUP = Outcome(by=Party.CALLER, cause=Cause.CALLER_HANGUP, detail="The call was hung up by DELETE.")
CANCELED = Outcome(
    by=Party.CALLER, cause=Cause.CANCELED, detail="The call was cancelled by DELETE before it was answered."
)
AGENT_HANGUP = Outcome(by=Party.AGENT, cause=Cause.AGENT_HANGUP, detail="The agent ended the call.")
RING_TIMEOUT = replace(_NO_ANSWER, detail="The callee did not answer within the ring time-out (sip.ring_timeout).")
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


def ended_by_bye(q850: int | None) -> Outcome:
    """The far end's BYE; its Reason header may tell of a failure of the network, which is nobody's hanging up."""
    return replace(LEG_LOST if _BY_Q850.get(q850 or 0) is _TRUNK_DOWN else CALLEE_HANGUP, q850=q850)


def ended_by_stack(sip_code: int) -> Outcome:
    """PJSIP itself ended an answered call, with this status for its reason."""
    if sip_code in (_REQUEST_TIMEOUT, _NO_SUCH_CALL):
        return SESSION_EXPIRED
    return _NOT_ACCEPTABLE if _BY_SIP.get(sip_code) is _NOT_ACCEPTABLE else LEG_LOST


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
    return _failed(
        Party.TRUNK,
        Cause.TRUNK_UNAVAILABLE,
        f"The trunk's certificate was refused (certificate verification failed): {what}.",
        hint,
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
