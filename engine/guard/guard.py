"""The guard against toll fraud: which live calls are allowed, and how many. A refusal names its rule and is counted."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.config.guard import ANYWHERE, GuardConfig
from engine.errors import GuardRefused, QuotaReached
from engine.guard.quota import Quota, Use
from engine.numbering import NumberKind, look_up
from engine.records import CallId, CallRecord, CallRequest, CountedCall
from engine.sip.addressing import may_call_from

log = logging.getLogger("trunkline.guard")

_DAY_S = 86_400
_CAPS = {
    "key_calls_per_minute": 60,
    "key_calls_per_hour": 3600,
    "key_calls_per_day": _DAY_S,
    "key_minutes_per_day": _DAY_S,
    "key_concurrent_calls": math.inf,
    "destination_calls_per_minute": 60,
    "destination_calls_per_hour": 3600,
    "destination_calls_per_day": _DAY_S,
    "destination_concurrent_calls": math.inf,
}
"""The settings that are quotas, each with its period in seconds."""
_RETRY_S = 5
"""The Retry-After when only the end of a call makes room."""
_ALWAYS = {
    NumberKind.INVALID: "This is not a telephone number: its country has none of this length.",
    NumberKind.EMERGENCY: "A trunk could take this for an emergency number. Trunkline never calls emergency numbers.",
    NumberKind.SHORT_CODE: "This is a short code, which cannot be called from elsewhere.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A configured quota of each key or each destination, in calls or in seconds."""

    setting: str
    of_key: bool
    in_seconds: bool
    quota: Quota

    @property
    def at_once(self) -> bool:
        return self.quota.period_s == math.inf

    def subject(self, api_key_id: str, to_number: str) -> str:
        return api_key_id if self.of_key else to_number


_Uses = list[tuple[_Rule, Use]]


class Clearance:
    """A call that is being accepted: what it uses is given back when the block ends, unless the call is kept."""

    def __init__(self, uses: _Uses, live: dict[CallId, _Uses]) -> None:
        self._uses = uses
        self._live = live

    def keep(self, call_id: CallId) -> None:
        """The call was accepted as ``call_id``; ``Guard.ended`` settles what it used."""
        self._live[call_id], self._uses = self._uses, []

    def __enter__(self) -> Clearance:
        return self

    def __exit__(self, *error: object) -> None:
        for _, use in self._uses:
            use.settle(0)


class Guard:
    """Checks each live call before its record is written. One event loop; nothing waits."""

    def __init__(self, config: GuardConfig, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._monotonic_s = monotonic_s
        self._rules = tuple(_rules(config))
        self._live: dict[CallId, _Uses] = {}
        self.refusals: Counter[str] = Counter()
        """By rule, since the start."""

    @property
    def remembers(self) -> timedelta:
        """The age from which no quota counts a call."""
        return timedelta(seconds=max((rule.quota.period_s for rule in self._rules if not rule.at_once), default=0))

    def restore(self, calls: Iterable[CountedCall], now: datetime) -> None:
        """Count the calls of an earlier run, oldest first; all have ended."""
        now_s = self._monotonic_s()
        for call in calls:
            at_s = now_s - (now - call.created_at).total_seconds()
            for rule in self._rules:
                if not rule.at_once:
                    amount = _talked_s(call) if rule.in_seconds else 1
                    rule.quota.use(rule.subject(call.api_key_id, call.to_number), amount, at_s)

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
        """The call has ended: from now on it counts with its actual duration."""
        for rule, use in self._live.pop(call.id, ()):
            if rule.at_once:
                use.settle(0)
            elif rule.in_seconds:
                use.settle(_talked_s(call))

    def _check(self, request: CallRequest) -> None:
        config, to = self._config, look_up(request.to_number)
        if to.kind in _ALWAYS:
            raise GuardRefused(to.kind, _ALWAYS[to.kind])
        if to.kind in config.blocked_types:
            message = f"Calls to {to.kind} numbers are not allowed (guard.blocked_types)."
            raise GuardRefused("guard.blocked_types", message)
        if not may_call_from(config.callers, request.from_number):
            raise GuardRefused("guard.callers", "Calls from this number are not allowed (guard.callers).")
        allowed = frozenset(config.countries or filter(None, [look_up(request.from_number).country]))
        if ANYWHERE not in allowed and allowed.isdisjoint(to.countries):
            where = "/".join(sorted(to.countries)) or "numbers without a country"
            places = ", ".join(sorted(allowed)) or "none"
            why = "guard.countries" if config.countries else "the country of from, as guard.countries is not set"
            message = f"Calls to {where} are not allowed; allowed countries: {places} ({why})."
            raise GuardRefused("guard.countries", message)

    def _use(self, to_number: str, api_key_id: str, seconds: int) -> _Uses:
        now_s = self._monotonic_s()
        wanted = [
            (rule, rule.subject(api_key_id, to_number), seconds if rule.in_seconds else 1) for rule in self._rules
        ]
        for rule, subject, amount in wanted:
            if (left := rule.quota.left(subject, now_s)) < amount:
                raise _reached(rule, amount, left, rule.quota.free_in_s(subject, now_s))
        return [(rule, rule.quota.use(subject, amount, now_s)) for rule, subject, amount in wanted]


def _rules(config: GuardConfig) -> Iterator[_Rule]:
    for name, period_s in _CAPS.items():
        if limit := getattr(config, name):
            in_seconds = name == "key_minutes_per_day"
            quota = Quota(limit * 60 if in_seconds else limit, period_s)
            yield _Rule(setting=f"guard.{name}", of_key=name.startswith("key_"), in_seconds=in_seconds, quota=quota)


def _talked_s(call: CallRecord | CountedCall) -> int:
    """The talk time in seconds, rounded up."""
    if call.answered_at is None or call.ended_at is None:
        return 0
    return max(0, math.ceil((call.ended_at - call.answered_at).total_seconds()))


def _reached(rule: _Rule, amount: int, left: int, free_in_s: float | None) -> QuotaReached:
    wait_s = _RETRY_S if rule.at_once else math.ceil(rule.quota.period_s if free_in_s is None else free_in_s)
    whose = "this key" if rule.of_key else "the called number"
    if rule.in_seconds:
        left_s = max(0, left)
        text = f"The call may last {amount} s (maxDuration), but {whose} has only {left_s} s left ({rule.setting})."
    else:
        text = f"{whose.capitalize()} has reached its limit of {rule.quota.limit} calls ({rule.setting})."
    return QuotaReached(rule.setting, text, retry_after_s=wait_s)
