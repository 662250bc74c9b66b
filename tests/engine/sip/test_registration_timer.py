"""When a REGISTER is due."""

from __future__ import annotations

import pytest

from engine.sip.registration_timer import RegistrationTimer


@pytest.mark.parametrize(("chance", "due_s"), [(0.0, 150), (1.0, 180)])
def test_a_registration_is_renewed_while_half_of_its_time_is_left(chance: float, due_s: float) -> None:
    assert RegistrationTimer(lambda: chance).after_success(300) == due_s


@pytest.mark.parametrize(
    ("code", "delays_s"),
    [(408, [1, 2, 4, 8, 16, 32, 60, 60]), (503, [1, 2, 4]), (401, [30, 60, 120, 240, 480, 600]), (403, [30, 60])],
)
def test_failures_are_tried_again_ever_more_slowly_and_refusals_slower_still(code: int, delays_s: list[float]) -> None:
    renewal, soonest = RegistrationTimer(lambda: 1.0), RegistrationTimer(lambda: 0.0)
    assert [renewal.after_failure(code) for _ in delays_s] == delays_s
    assert [soonest.after_failure(code) for _ in delays_s] == [delay_s / 2 for delay_s in delays_s]


def test_a_success_ends_the_slowness() -> None:
    renewal = RegistrationTimer(lambda: 1.0)
    for _ in range(5):
        renewal.after_failure(503)
    renewal.after_success(300)
    assert renewal.after_failure(503) == 1


@pytest.mark.parametrize(("asked_s", "delay_s"), [(20, 20), (999_999, 3600), (None, 1)])
def test_the_registrars_retry_after_is_kept_for_an_hour_at_most(asked_s: int | None, delay_s: float) -> None:
    assert RegistrationTimer(lambda: 1.0).after_failure(503, asked_s) == delay_s
