"""The times of a registration's renewal and of retries after a failure (RFC 3261 §10.2.4, §10.2.7); pure."""

from __future__ import annotations

from collections.abc import Callable

_RENEW_AFTER = (0.5, 0.6)
"""The share of a registration's time. The rest is for a retransmitted REGISTER (32 s) or for the next try."""
_FIRST_S, _LONGEST_S = 1.0, 60.0
_REFUSED = (401, 403, 407)
_REFUSED_FIRST_S, _REFUSED_LONGEST_S = 30.0, 600.0
"""After a refused password, because somebody has to correct it first, and carriers block clients that guess."""
_RETRY_AFTER_MAX_S = 3600


class RegistrationTimer:
    """The timer of one registration. ``rng`` spreads the times, so that many engines do not return to a registrar in
    step."""

    def __init__(self, rng: Callable[[], float]) -> None:
        self._rng = rng
        self._failures = 0

    def after_success(self, expires_s: float) -> float:
        """Seconds until the next REGISTER."""
        self._failures = 0
        earliest, latest = _RENEW_AFTER
        return expires_s * (earliest + (latest - earliest) * self._rng())

    def after_failure(self, code: int, retry_after_s: int | None = None) -> float:
        """Seconds until the next REGISTER: doubled each time, half of it random, and at least ``retry_after_s``."""
        refused = code in _REFUSED
        first_s, longest_s = (_REFUSED_FIRST_S, _REFUSED_LONGEST_S) if refused else (_FIRST_S, _LONGEST_S)
        delay_s = min(longest_s, first_s * 2.0 ** min(self._failures, 20))
        self._failures += 1
        return max(delay_s * (0.5 + 0.5 * self._rng()), min(retry_after_s or 0, _RETRY_AFTER_MAX_S))
