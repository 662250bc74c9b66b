from __future__ import annotations

from engine.sandbox.ultravox.admission import Admission
from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import Knobs


def test_without_limits_everything_is_admitted() -> None:
    admission = Admission(ClientFaults())
    assert all(admission.retry_after_s(Knobs(), 1000, 0.0) is None for _ in range(1000))


def test_call_beyond_the_plan_waits() -> None:
    admission = Admission(ClientFaults())
    assert admission.retry_after_s(Knobs(max_calls=5), 4, 0.0) is None
    assert admission.retry_after_s(Knobs(max_calls=5), 5, 0.0) == 1


def test_creations_are_limited_by_sliding_windows() -> None:
    admission, knobs = Admission(ClientFaults()), Knobs(creates_per_s=2, creates_per_min=3)
    waits = [admission.retry_after_s(knobs, 0, at) for at in (0.0, 0.1, 0.2, 1.05, 2.5, 61.0)]
    assert waits == [None, None, 1, None, 58, None]


def test_coming_back_too_early_is_a_fault() -> None:
    faults = ClientFaults()
    admission = Admission(faults)
    admission.refused("2", 10.0)
    admission.arrived(12.0)
    assert faults.counts == {}
    admission.arrived(11.9)
    assert faults.counts == {"ignored-retry-after": 1}
