from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.config.guard import GuardConfig
from engine.errors import GuardRefused, QuotaReached
from engine.guard.guard import Guard
from engine.records import CallRecord, CountedCall, Status
from tests.engine.samples import call_record, request

US, CANADA, GERMANY = "+14155550100", "+16135550123", "+493012345678"
NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


class Rig:
    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.guard = Guard(GuardConfig.model_validate(settings), monotonic_s=self.clock)

    def place(self, to: str = US, *, key: str = "k", from_: str = US, limit_s: float = 60) -> CallRecord:
        asked = request(from_number=from_, to_number=to)
        with self.guard.clear(asked, key, limit_s) as clearance:
            call = call_record(request=asked, status=Status.COMPLETED, answered_at=NOON, ended_at=NOON)
            clearance.keep(call.id)
        return call

    def refusal(self, *args: Any, **kwargs: Any) -> str:
        try:
            self.place(*args, **kwargs)
        except (GuardRefused, QuotaReached) as refusal:
            return refusal.rule
        raise AssertionError("the call was cleared")


def lasted(call: CallRecord, seconds: float) -> CallRecord:
    return replace(call, ended_at=NOON + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("settings", "from_", "to", "rule"),
    [
        ({}, US, "+14155551234", None),
        ({}, US, CANADA, "guard.countries"),
        ({}, US, "+18765551234", "guard.countries"),
        ({}, US, GERMANY, "guard.countries"),
        ({}, GERMANY, "+4917612345678", None),
        ({}, CANADA, "+18005551234", None),
        ({}, "+18005551234", US, None),
        ({}, "+18005551234", "+18765551234", "guard.countries"),
        ({}, US, "+19005551234", "guard.blocked_types"),
        ({}, US, "+15005550001", "guard.blocked_types"),
        ({}, US, "+1911", "emergency"),
        ({}, US, "+1411", "short-code"),
        ({}, US, "+1415555123", "invalid-number"),
        ({"countries": ("DE", "CA")}, US, GERMANY, None),
        ({"countries": ("DE", "CA")}, US, US, "guard.countries"),
        ({"countries": ("*",)}, US, "+252612345678", None),
        ({"countries": ("*",)}, US, "+870773112345", "guard.blocked_types"),
        ({"countries": ("*",), "blocked_types": ()}, US, "+870773112345", None),
        ({"countries": ("US",), "blocked_types": ()}, US, "+870773112345", "guard.countries"),
        ({"countries": ("*",), "blocked_types": ()}, US, "+112", "emergency"),
        ({"callers": ("+14155550100",)}, US, US, None),
        ({"callers": ("+1415555*", "+4930")}, US, US, None),
        ({"callers": ("+141555501", "+4930*")}, US, US, "guard.callers"),
        ({"blocked_types": ("toll-free",)}, US, "+18005551234", "guard.blocked_types"),
    ],
)
def test_call_is_cleared_or_refused_by_a_rule_that_is_named(
    settings: dict[str, Any], from_: str, to: str, rule: str | None
) -> None:
    rig = Rig(**settings)
    if rule is None:
        rig.place(to, from_=from_)
        assert not rig.guard.refusals
    else:
        assert rig.refusal(to, from_=from_) == rule
        assert rig.guard.refusals == {rule: 1}


@pytest.mark.parametrize("of", ["key", "destination"])
@pytest.mark.parametrize(("period", "period_s"), [("minute", 60), ("hour", 3600), ("day", 86_400)])
def test_calls_beyond_a_quota_are_refused_until_the_window_has_slid(of: str, period: str, period_s: int) -> None:
    setting = f"{of}_calls_per_{period}"
    rig = Rig(**{setting: 2})
    rig.place()
    rig.clock.s += 10
    rig.place()
    with pytest.raises(QuotaReached, match=f"has used its 2 calls .guard.{setting}") as caught:
        rig.place()
    assert caught.value.retry_after_s == period_s - 10
    rig.place(key="other") if of == "key" else rig.place("+14155550199")
    rig.clock.s += period_s - 10
    rig.place()
    assert rig.refusal() == f"guard.{setting}"


@pytest.mark.parametrize("of", ["key", "destination"])
def test_calls_at_once_are_limited_until_one_ends(of: str) -> None:
    rig = Rig(**{f"{of}_concurrent_calls": 2})
    first, _ = rig.place(), rig.place()
    rig.clock.s += 100_000
    assert rig.refusal() == f"guard.{of}_concurrent_calls"
    rig.guard.ended(first)
    rig.guard.ended(first)
    rig.place()
    assert rig.refusal() == f"guard.{of}_concurrent_calls"


def test_live_call_counts_with_what_it_may_last_and_a_finished_one_with_what_it_did() -> None:
    rig = Rig(key_minutes_per_day=10)
    call = rig.place(limit_s=541)
    with pytest.raises(QuotaReached, match=r"may last 60 s .maxDuration., but this key has only 59 s left"):
        rig.place(limit_s=60)
    rig.guard.ended(lasted(call, 239.2))
    rig.place(limit_s=360)
    assert rig.refusal(limit_s=1) == "guard.key_minutes_per_day"
    rig.place(key="other", limit_s=600)
    assert rig.refusal(key="third", limit_s=601) == "guard.key_minutes_per_day"


def test_call_that_comes_to_nothing_uses_nothing() -> None:
    rig = Rig(key_calls_per_day=1, key_concurrent_calls=1, key_minutes_per_day=1)
    with pytest.raises(ValueError, match="disk"), rig.guard.clear(request(from_number=US, to_number=US), "k", 60):
        raise ValueError("disk")
    rig.place()


def test_refused_call_uses_nothing_of_any_quota() -> None:
    rig = Rig(key_calls_per_day=2, destination_calls_per_day=1)
    rig.place()
    for _ in range(5):
        assert rig.refusal() == "guard.destination_calls_per_day"
    rig.place("+14155550199")


def test_calls_of_an_earlier_run_count_as_they_did() -> None:
    rig = Rig(key_calls_per_day=2, key_minutes_per_day=100, destination_concurrent_calls=1)
    assert rig.guard.remembers == timedelta(days=1)
    rig.guard.restore(
        [
            CountedCall(api_key_id="k", to_number=US, created_at=at, answered_at=at, ended_at=at + timedelta(hours=1))
            for at in (NOON - timedelta(hours=23), NOON - timedelta(hours=1))
        ],
        NOON,
    )
    assert rig.refusal() == "guard.key_calls_per_day"
    rig.clock.s += 3600
    assert rig.refusal(limit_s=2401) == "guard.key_minutes_per_day"
    rig.place(limit_s=2400)


def test_guard_without_quotas_remembers_nothing() -> None:
    assert Rig(key_concurrent_calls=3).guard.remembers == timedelta()


def test_refusal_is_logged_with_its_rule(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "trunkline")
    Rig().refusal(GERMANY)
    assert vars(caplog.records[0])["rule"] == "guard.countries"
