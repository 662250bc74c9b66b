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
_OTHER = _failed(Party.TRUNK, Cause.CALL_FAILED, "The trunk ended the attempt.", "The SIP status says more.")
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
        if sip_code == _REQUEST_TIMEOUT:
            return TRUNK_SILENT
        return replace(_TRUNK_DOWN, detail=f"The trunk could not be reached: {sip_reason or 'transport error'}.")
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


def ended_by_bye(q850: int | None) -> Outcome:
    """The far end's BYE; its Reason header may tell of a failure of the network, which is nobody's hanging up."""
    return replace(LEG_LOST if _BY_Q850.get(q850 or 0) is _TRUNK_DOWN else CALLEE_HANGUP, q850=q850)


def ended_by_stack(sip_code: int) -> Outcome:
    """PJSIP itself ended an answered call, with this status for its reason."""
    if sip_code in (_REQUEST_TIMEOUT, _NO_SUCH_CALL):
        return SESSION_EXPIRED
    return _NOT_ACCEPTABLE if _BY_SIP.get(sip_code) is _NOT_ACCEPTABLE else LEG_LOST
