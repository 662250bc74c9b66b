"""The guard against toll fraud: which live calls are allowed, and how many. A refusal names its rule and is counted."""

from __future__ import annotations

import enum
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.config.guard import ANYWHERE, GuardConfig
from engine.errors import GuardRefused, QuotaReached
from engine.guard.quota import Quota, Use
from engine.numbering import NumberKind, look_up
from engine.records import CallId, CallRecord, CallRequest, CountedCall
from engine.sip.addressing import may_call_from

log = logging.getLogger("trunkline.guard")

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_AT_ONCE = math.inf
_RETRY_S = 5
"""When only the end of a call makes room."""
_ALWAYS = {
    NumberKind.INVALID: "This cannot be a telephone number: its country has no numbers of this length.",
    NumberKind.EMERGENCY: "A trunk could take this for an emergency number, and Trunkline does not call those.",
    NumberKind.SHORT_CODE: "This is a short code, which cannot be called from other networks.",
}


class _Each(enum.StrEnum):
    """Whose use is counted; the value is the word for it in a refusal."""

    KEY = "this key"
    DESTINATION = "this number"


class _Unit(enum.Enum):
    CALLS = enum.auto()
    SECONDS = enum.auto()


@dataclass(frozen=True, slots=True)
class _Rule:
    """One setting of ``GuardConfig`` that is a quota: how much each key or destination may use in any ``period_s``."""

    name: str
    each: _Each
    unit: _Unit
    period_s: float

    @property
    def setting(self) -> str:
        return f"guard.{self.name}"

    @property
    def at_once(self) -> bool:
        return self.period_s == _AT_ONCE

    def subject(self, api_key_id: str, to_number: str) -> str:
        return api_key_id if self.each is _Each.KEY else to_number

    def amount(self, seconds: int) -> int:
        """What a call of so many seconds uses."""
        return seconds if self.unit is _Unit.SECONDS else 1

    def quota(self, config: GuardConfig) -> Quota | None:
        """None when the setting is 0."""
        limit: int = getattr(config, self.name)
        limit *= _MINUTE_S if self.unit is _Unit.SECONDS else 1  # the setting is in minutes
        return Quota(limit, self.period_s) if limit else None


_RULES = (
    _Rule("key_calls_per_minute", _Each.KEY, _Unit.CALLS, _MINUTE_S),
    _Rule("key_calls_per_hour", _Each.KEY, _Unit.CALLS, _HOUR_S),
    _Rule("key_calls_per_day", _Each.KEY, _Unit.CALLS, _DAY_S),
    _Rule("key_minutes_per_day", _Each.KEY, _Unit.SECONDS, _DAY_S),
    _Rule("key_concurrent_calls", _Each.KEY, _Unit.CALLS, _AT_ONCE),
    _Rule("destination_calls_per_minute", _Each.DESTINATION, _Unit.CALLS, _MINUTE_S),
    _Rule("destination_calls_per_hour", _Each.DESTINATION, _Unit.CALLS, _HOUR_S),
    _Rule("destination_calls_per_day", _Each.DESTINATION, _Unit.CALLS, _DAY_S),
    _Rule("destination_concurrent_calls", _Each.DESTINATION, _Unit.CALLS, _AT_ONCE),
)

_Uses = list[tuple[_Rule, Use]]


class Clearance:
    """A call on its way in. When the block ends, what the call uses is given back, unless the clearance was kept."""

    def __init__(self, uses: _Uses, live: dict[CallId, _Uses]) -> None:
        self._uses = uses
        self._live = live

    @classmethod
    def of_sandbox(cls) -> Clearance:
        """A call that the guard does not count."""
        return cls([], {})

    def keep(self, call_id: CallId) -> None:
        """The request became this call; its end is to be reported to ``Guard.ended``."""
        self._live[call_id], self._uses = self._uses, []

    def __enter__(self) -> Clearance:
        return self

    def __exit__(self, *error: object) -> None:
        for _, use in self._uses:
            use.settle(0)


class Guard:
    """Asked for each live call before its record is written. One event loop; nothing waits."""

    def __init__(self, config: GuardConfig, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._monotonic_s = monotonic_s
        self._quotas = {rule: quota for rule in _RULES if (quota := rule.quota(config)) is not None}
        self._live: dict[CallId, _Uses] = {}
        self.refusals: Counter[str] = Counter()
        """By rule, since the start."""

    @property
    def remembers(self) -> timedelta:
        """The age from which a call counts for no quota any more."""
        return timedelta(seconds=max((rule.period_s for rule in self._quotas if not rule.at_once), default=0))

    def restore(self, calls: Iterable[CountedCall], now: datetime) -> None:
        """Count the calls of an earlier run, oldest first; all are over."""
        now_s = self._monotonic_s()
        for call in calls:
            at_s = now_s - (now - call.created_at).total_seconds()
            for rule, quota in self._quotas.items():
                if not rule.at_once:
                    quota.use(rule.subject(call.api_key_id, call.to_number), rule.amount(_talked_s(call)), at_s)

    def clear(self, request: CallRequest, api_key_id: str, max_duration_s: float) -> Clearance:
        """Clear the call and count it from now on. Raises ``GuardRefused``, ``QuotaReached``."""
        try:
            self._check(request)
            return Clearance(self._use(request.to_number, api_key_id, math.ceil(max_duration_s)), self._live)
        except (GuardRefused, QuotaReached) as refusal:
            self.refusals[refusal.rule] += 1
            fields = {"rule": refusal.rule, "from": request.from_number, "to": request.to_number, "key": api_key_id}
            log.warning("call refused", extra=fields)
            raise

    def ended(self, call: CallRecord) -> None:
        """The call is over: from now on it counts with what it lasted."""
        for rule, use in self._live.pop(call.id, ()):
            if rule.at_once:
                use.settle(0)
            else:
                use.settle(rule.amount(_talked_s(call)))

    def _check(self, request: CallRequest) -> None:
        config, to = self._config, look_up(request.to_number)
        if to.kind in _ALWAYS:
            raise GuardRefused(to.kind, _ALWAYS[to.kind])
        if to.kind in config.blocked_types:
            raise GuardRefused(
                "guard.blocked_types", f"Calls to {to.kind} numbers are not allowed (guard.blocked_types)."
            )
        if not may_call_from(config.callers, request.from_number):
            raise GuardRefused("guard.callers", "Calls from this number are not allowed (guard.callers).")
        allowed = frozenset(config.countries or filter(None, [look_up(request.from_number).country]))
        if ANYWHERE not in allowed and allowed.isdisjoint(to.countries):
            where = "/".join(sorted(to.countries)) or "numbers without a country"
            places = ", ".join(sorted(allowed)) or "none"
            why = "guard.countries" if config.countries else "guard.countries is not set, so only the country of from"
            raise GuardRefused(
                "guard.countries", f"Calls to {where} are not allowed; allowed countries: {places} ({why})."
            )

    def _use(self, to_number: str, api_key_id: str, seconds: int) -> _Uses:
        now_s = self._monotonic_s()
        wanted = [
            (rule, quota, rule.subject(api_key_id, to_number), rule.amount(seconds))
            for rule, quota in self._quotas.items()
        ]
        for rule, quota, subject, amount in wanted:
            if (left := quota.left(subject, now_s)) < amount:
                raise _reached(rule, quota.limit, amount, left, quota.free_in_s(subject, now_s))
        return [(rule, quota.use(subject, amount, now_s)) for rule, quota, subject, amount in wanted]


def _talked_s(call: CallRecord | CountedCall) -> int:
    """Every second that was begun."""
    if call.answered_at is None or call.ended_at is None:
        return 0
    return max(0, math.ceil((call.ended_at - call.answered_at).total_seconds()))


def _reached(rule: _Rule, limit: int, amount: int, left: int, free_in_s: float | None) -> QuotaReached:
    wait_s = _RETRY_S if rule.at_once else math.ceil(rule.period_s if free_in_s is None else free_in_s)
    if rule.unit is _Unit.SECONDS:
        text = (
            f"The call may last {amount} s (maxDuration), but {rule.each} has only {max(0, left)} s left "
            f"({rule.setting})."
        )
    else:
        text = f"{rule.each.capitalize()} has used its {limit} calls ({rule.setting})."
    return QuotaReached(rule.setting, text, retry_after_s=wait_s)
