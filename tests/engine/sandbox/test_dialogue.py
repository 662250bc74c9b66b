from __future__ import annotations

from engine.sandbox.dialogue import APPOINTMENT


def test_both_sides_have_lines_enough_for_each_other() -> None:
    assert len(APPOINTMENT.agent) == len(APPOINTMENT.callee) + 1
