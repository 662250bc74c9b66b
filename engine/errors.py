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
    └── EngineError           our fault, or a process of ours died (HTTP 500)
        └── SipError          PJSIP refused an operation

Every error's ``str()`` is a sentence that says what happened and what to do; none carries a secret.
"""

from __future__ import annotations

from collections.abc import Iterable


class TrunklineError(Exception):
    """Base of everything the engine raises on purpose."""


class RequestError(TrunklineError):
    """The request cannot be met as it stands."""


class IdempotencyConflict(RequestError):
    """The Idempotency-Key was used before with another body."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used before with another body. "
            "Send the same body again, or choose a new key for a new call."
        )


class CallIsLive(RequestError):
    """What was asked for is possible once the call is over."""

    def __init__(self) -> None:
        super().__init__("The call is not over yet. Hang up first: DELETE /api/voice/{id}.")


class UnknownCall(RequestError):
    """No call of this environment has the id."""

    def __init__(self, call_id: str) -> None:
        super().__init__(f"No call has the id {call_id!r}.")


class CallerNotAllowed(RequestError):
    """No trunk lets this number call."""

    def __init__(self, callers: Iterable[str]) -> None:
        super().__init__(f"Expected a number that a trunk may call from: {', '.join(sorted(set(callers)))}.")


class GuardRefused(RequestError):
    """The guard lets no such call out, today or tomorrow; ``rule`` is the setting, or what the number is."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class GrantRefused(RequestError):
    """A key cannot give to another what it does not have."""


class UnknownKey(RequestError):
    """No API key that the asking one may manage has the id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"No key has the id {key_id!r}.")


class TargetRefused(RequestError):
    """A webhook's URL is one that nothing is sent to."""


class TooManyWebhooks(RequestError):
    """The environment has as many webhooks as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} webhooks already, and no more are allowed. Delete one first.")


class UnknownWebhook(RequestError):
    """No webhook of this environment has the id."""

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"No webhook has the id {webhook_id!r}.")


class CapacityError(TrunklineError):
    """Nothing is wrong with the request; it cannot be served now."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QuotaReached(CapacityError):
    """The guard lets no more such calls out for now; ``rule`` is the setting."""

    def __init__(self, rule: str, message: str, *, retry_after_s: int) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.rule = rule


class NoCapacity(CapacityError):
    """All lines are in use."""


class ShuttingDown(CapacityError):
    """No call is taken any more by this process."""


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
    """The engine itself could not do it."""


class StoreUnavailable(CapacityError, EngineError):
    """The database cannot be written or read now (disk full, locked, gone); it may be able to again."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The database did not do what was asked: {reason}.", retry_after_s=5)


class SipError(EngineError):
    """PJSIP refused an operation; the text is PJSIP's own."""
