"""What the network said of a call's end, read from one table into a stable cause and a sentence a person understands.

It speaks by a SIP status (RFC 3261 §21) and by the Q.850 cause of a Reason header (RFC 3326), which wins when there is
one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from engine.outcome import CALLEE_HANGUP, LEG_LOST, SESSION_EXPIRED, TRUNK_SILENT, Cause, Outcome, Party


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
_AT_LIMIT = _failed(
    Party.TRUNK,
    Cause.TRUNK_UNAVAILABLE,
    "The trunk refused the call because of a limit on our calls.",
    "Set max_calls and calls_per_second of the trunk to what the carrier allows, or ask the carrier for more.",
    retryable=True,
)
_OTHER = _failed(Party.TRUNK, Cause.CALL_FAILED, "The trunk ended the attempt.", "The SIP status says more.")
_REDIRECTED = _failed(
    Party.TRUNK,
    Cause.CALL_FAILED,
    "The trunk redirected the call, and it was not followed.",
    "When that is expected, see redirects of the trunk in the configuration.",
)
_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS, _NO_SUCH_CALL, _UNAVAILABLE = 408, 429, 481, 503

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
    429: _AT_LIMIT,
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

RFC 3261 §21; 428, 436 to 438 RFC 8224; 433 RFC 5079; 607 RFC 8197; 608 RFC 8688. Carriers send 429 for Too Many
Requests, as in HTTP; RFC 3892 gives it another meaning, for REFER only.
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

_BY_BOTH: dict[tuple[int, int], Outcome] = {
    (status, q850): _TRUNK_REFUSED for status in (403, 603) for q850 in (0, 16, 21, 63)
}
"""PBXs mirror their own hangup cause beside the status of their dial plan: nobody was asked, so no callee declined."""

_LIMITING = (403, 429, 603, *range(500, 600))
_LIMIT_PHRASES = (
    "calls per second",
    "call rate",
    "rate limit",
    "too many calls",
    "too many concurrent",
    "too many requests",
    "concurrent call",
    "simultaneous call",
    "call limit",
    "channel limit",
    "max calls",
    "maximum calls",
    "calls in progress",
)
"""What carriers write into the reason phrase when we exceed a limit of theirs; besides the word CPS."""


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
        if sip_code == _REQUEST_TIMEOUT:
            return TRUNK_SILENT
        return replace(_TRUNK_DOWN, detail=f"The trunk could not be reached: {sip_reason or 'transport error'}.")
    base = _by_reason_header(sip_code, q850)
    if base is None or base is _TRUNK_REFUSED:
        base = _AT_LIMIT if _at_limit(sip_code, sip_reason) else base
    base = base or _BY_SIP.get(sip_code) or (_TRUNK_DOWN if 500 <= sip_code < 600 else _OTHER)
    return replace(base, sip_code=sip_code, sip_reason=sip_reason or None, q850=q850, retry_after_s=retry_after_s)


def unusable_answer(why: str) -> Outcome:
    """The outcome of a call whose answer has no session description that can be used; ``why`` is a clause."""
    return replace(
        _NOT_ACCEPTABLE,
        detail=f"The far end's answer cannot be used: {why}.",
        hint="Ask the carrier what it answers with; Trunkline offers audio over RTP.",
    )


def _by_reason_header(sip_code: int, q850: int | None) -> Outcome | None:
    """What the Q.850 cause says, None where the status says more."""
    if q850 is None:
        return None
    return _BY_BOTH.get((sip_code, q850)) or _BY_Q850.get(q850)


def _at_limit(sip_code: int, sip_reason: str | None) -> bool:
    """Whether the trunk refuses because we call too often, or too many at once."""
    phrase = (sip_reason or "").lower()
    says_so = "cps" in phrase.split() or any(limit in phrase for limit in _LIMIT_PHRASES)
    return sip_code == _TOO_MANY_REQUESTS or (sip_code in _LIMITING and says_so)


CONCERNS_TRUNK = frozenset((401, 402, 403, 407, 408, *range(500, 600)))
"""The SIP statuses that may speak of the trunk; any other speaks of the callee or of the request."""


def trunk_failed(outcome: Outcome, codes: Collection[int]) -> bool:
    """Whether another trunk may do better: no answer, no way there, a limit of this trunk, or a status of ``codes``,
    unless a Q.850 cause beside it speaks of the callee."""
    if outcome.sip_code is None:
        return outcome.cause in (Cause.TRUNK_TIMEOUT, Cause.TRUNK_UNAVAILABLE)
    known = _by_reason_header(outcome.sip_code, outcome.q850)
    if known is not None and known is not _TRUNK_DOWN and (outcome.sip_code, outcome.q850) not in _BY_BOTH:
        return False
    return outcome.sip_code in codes or _at_limit(outcome.sip_code, outcome.sip_reason)


def pause_s(outcome: Outcome) -> int | None:
    """How long the trunk asked to be left alone: the Retry-After of a 503 or of a limit; None where it did not."""
    asks = outcome.sip_code is not None and (
        outcome.sip_code == _UNAVAILABLE or _at_limit(outcome.sip_code, outcome.sip_reason)
    )
    return (outcome.retry_after_s or None) if asks else None


def ended_by_bye(q850: int | None) -> Outcome:
    """The far end's BYE; its Reason header may tell of a failure of the network, which is nobody's hanging up."""
    return replace(LEG_LOST if _BY_Q850.get(q850 or 0) is _TRUNK_DOWN else CALLEE_HANGUP, q850=q850)


def ended_by_stack(sip_code: int) -> Outcome:
    """PJSIP itself ended an answered call, with this status for its reason."""
    if sip_code in (_REQUEST_TIMEOUT, _NO_SUCH_CALL):
        return SESSION_EXPIRED
    return _NOT_ACCEPTABLE if _BY_SIP.get(sip_code) is _NOT_ACCEPTABLE else LEG_LOST
