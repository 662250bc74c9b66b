"""The engine's errors, split by what the reader does next.

    TrunklineError
    ├── RequestError          the client asked for something it cannot have (HTTP 4xx)
    │   ├── CallIsLive
    │   ├── CallerNotAllowed
    │   ├── GrantRefused
    │   ├── GuardRefused
    │   ├── IdempotencyConflict
    │   ├── TargetRefused
    │   ├── TooManyWebhooks
    │   ├── UnknownCall
    │   ├── UnknownKey
    │   └── UnknownWebhook
    ├── CapacityError         try again later (HTTP 503 or 429, with Retry-After)
    │   ├── QuotaReached
    │   ├── NoCapacity
    │   ├── ShuttingDown
    │   ├── StoreUnavailable  (an EngineError too)
    │   └── TrunkUnavailable
    ├── ConfigError           the operator must change the configuration
    └── EngineError           our fault, or one of our processes died (HTTP 500)
        └── SipError          PJSIP refused an operation

Every error's ``str()`` is a sentence that says what happened and what to do; none carries a secret.
"""

from __future__ import annotations

from collections.abc import Iterable


class TrunklineError(Exception):
    """Base of everything the engine raises on purpose."""


class RequestError(TrunklineError):
    """The request cannot be met."""


class IdempotencyConflict(RequestError):
    """The Idempotency-Key was used before with another body."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used before with another body. "
            "Send the same body again, or choose a new key for a new call."
        )


class CallIsLive(RequestError):
    """The request needs a call that has ended."""

    def __init__(self) -> None:
        super().__init__("The call has not ended yet. Hang up first: DELETE /api/voice/{id}.")


class UnknownCall(RequestError):
    """No call of this environment has the id."""

    def __init__(self, call_id: str) -> None:
        super().__init__(f"No call has the id {call_id!r}.")


class CallerNotAllowed(RequestError):
    """No trunk allows calls from this number."""

    def __init__(self, callers: Iterable[str]) -> None:
        super().__init__(f"Expected a number that a trunk allows calls from: {', '.join(sorted(set(callers)))}.")


class GuardRefused(RequestError):
    """The guard never allows such a call; ``rule`` is the setting, or the kind of number."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class GrantRefused(RequestError):
    """A key would create a key with more rights than its own."""


class UnknownKey(RequestError):
    """No API key that the requesting key may manage has the id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"No key has the id {key_id!r}.")


class TargetRefused(RequestError):
    """Nothing may be sent to a webhook's URL."""


class TooManyWebhooks(RequestError):
    """The environment has reached its limit of webhooks."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The limit of {limit} webhooks is reached. Delete one first.")


class UnknownWebhook(RequestError):
    """No webhook of this environment has the id."""

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"No webhook has the id {webhook_id!r}.")


class CapacityError(TrunklineError):
    """The request is valid but cannot be served now."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QuotaReached(CapacityError):
    """The guard allows no more such calls for now; ``rule`` is the setting."""

    def __init__(self, rule: str, message: str, *, retry_after_s: int) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.rule = rule


class NoCapacity(CapacityError):
    """All lines are in use, or too many calls are queued."""


class ShuttingDown(CapacityError):
    """The process is shutting down and accepts no more calls."""


class TrunkUnavailable(CapacityError):
    """No trunk can take the call."""


class ConfigError(TrunklineError):
    """The configuration has mistakes; ``mistakes`` names every one of them.

    Each mistake is ``(key, message)``: the dotted key (``trunks[0].uri``) and what was expected there.
    """

    def __init__(self, source: str, mistakes: list[tuple[str, str]]) -> None:
        self.source = source
        self.mistakes = mistakes
        lines = "".join(f"\n  {key}: {message}" for key, message in mistakes)
        super().__init__(f"{source} has {len(mistakes)} mistake{'s' if len(mistakes) != 1 else ''}:{lines}")


class EngineError(TrunklineError):
    """The engine failed."""


class StoreUnavailable(CapacityError, EngineError):
    """The database cannot be read or written for now (disk full, locked, gone)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The database is not available: {reason}.", retry_after_s=5)


class SipError(EngineError):
    """PJSIP refused an operation; the text is PJSIP's own."""
