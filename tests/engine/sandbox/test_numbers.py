from __future__ import annotations

import math

import pytest

from engine.sandbox.numbers import Behaviour, behaviour


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+15005550001", Behaviour(final_code=486, ring_s=0.0)),
        ("+15005550002", Behaviour(ring_s=math.inf)),
        ("+15005550003", Behaviour(final_code=603, ring_s=0.0)),
        ("+15005550004", Behaviour(final_code=503, ring_s=0.0)),
        ("+15005550005", Behaviour(ring_s=5.0)),
        ("+15005550006", Behaviour(ring_s=1.0, hangup_after_s=3.0)),
        ("+15005550007", Behaviour(hangup_after_s=4.0, keys="1234#")),
        ("+442079460000", Behaviour(ring_s=1.0)),
    ],
)
def test_number_has_its_behaviour(number: str, expected: Behaviour) -> None:
    assert behaviour(number) == expected
