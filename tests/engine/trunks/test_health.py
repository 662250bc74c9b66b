"""One trunk: up or not, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.messages.events import Probed, Registration
from engine.trunks.health import TrunkHealth


class Rig:
    def __init__(self, *, registers: bool = False, probe_failures: int = 2) -> None:
        self.at = datetime(2026, 3, 9, 15, 30, tzinfo=UTC)
        self.health = TrunkHealth(registers=registers, probe_failures=probe_failures, now=lambda: self.at)

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def register(self, code: int) -> bool:
        ok = code == 200
        event = Registration(trunk="t", registered=ok, code=code, reason="why", expires_s=60 if ok else 0)
        return self.health.registration_changed(event)

    def probe(self, code: int) -> bool:
        return self.health.probed(Probed(trunk="t", code=code, reason="why"))


def test_a_registration_has_the_time_of_its_last_change_and_of_its_expiry() -> None:
    rig = Rig(registers=True)
    begun = rig.at
    assert str(rig.health) == "registering"
    rig.pass_s(1)
    assert rig.register(200)
    rig.pass_s(30)
    assert not rig.register(200)
    state = rig.health.registration
    assert state is not None
    assert (state.state, state.since, state.expires_at) == (
        "registered",
        begun + timedelta(seconds=1),
        begun + timedelta(seconds=91),
    )
    assert str(rig.health) == "up, registered"
    rig.health.registration_lost()
    assert not rig.health.up


@pytest.mark.parametrize(
    ("code", "names"),
    [(401, "username and password"), (403, "username and password"), (408, "registrar"), (500, "carrier")],
)
def test_a_failed_registration_says_what_to_look_at(code: int, names: str) -> None:
    rig = Rig(registers=True)
    rig.register(code)
    assert rig.health.registration is not None
    assert rig.health.registration.state == "failed"
    assert names in rig.health.registration.hint
    assert str(rig.health) == f"registration failed: {code} why"


def test_a_registration_that_could_not_be_sent_has_no_sip_status_but_a_sentence_and_its_hint() -> None:
    rig = Rig(registers=True)
    why = "sip.nosuch.invalid does not resolve: no such name."
    event = Registration(trunk="t", registered=False, code=0, reason=why, expires_s=0, hint="Check the DNS.")
    assert rig.health.registration_changed(event)
    assert not rig.health.registration_changed(event), "one line in the log"
    state = rig.health.registration
    assert state is not None
    assert (state.state, state.code, state.hint) == ("failed", None, "Check the DNS.")
    assert str(rig.health) == "registration failed: sip.nosuch.invalid does not resolve: no such name"


def test_a_probe_that_could_not_be_sent_is_a_failure_without_a_sip_status() -> None:
    rig = Rig(probe_failures=1)
    assert rig.probe(0)
    assert rig.health.probe is not None
    assert rig.health.probe.code is None
    assert str(rig.health) == "down, OPTIONS failed: why"


def test_probes_take_a_trunk_down_after_so_many_failures_and_one_answer_brings_it_back() -> None:
    rig = Rig(probe_failures=2)
    told = [rig.probe(code) for code in (200, 408, 405, 503, 408, 408, 404)]
    assert told == [False, False, False, False, True, False, True], "reported on change only"
    assert rig.health.up


def test_retry_after_takes_a_trunk_out_for_so_long_and_an_hour_at_most() -> None:
    rig = Rig()
    rig.health.leave_alone(30)
    assert str(rig.health) == "out until 15:30:30 UTC (Retry-After)"
    rig.pass_s(29.9)
    assert rig.health.out_until is not None
    rig.pass_s(0.1)
    assert str(rig.health) == "up"
    rig.health.leave_alone(10**9)
    rig.pass_s(3600)
    assert rig.health.up
