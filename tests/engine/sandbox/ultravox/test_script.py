from __future__ import annotations

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox.script import Line, Script

DIALOGUE = Dialogue(agent=("Good day.", "Goodbye."), callee=("Good day to you.",))


def test_agent_lines_come_once_each_and_the_last_is_marked() -> None:
    script = Script(DIALOGUE)
    lines = [script.next_line() for _ in range(3)]
    assert lines == [Line(text="Good day.", last=False), Line(text="Goodbye.", last=True), None]


def test_user_before_the_opening_says_hello_and_keeps_the_lines() -> None:
    script = Script(DIALOGUE)
    assert script.heard() == "Hello?"
    script.next_line()
    assert script.heard() == "Good day to you."


def test_user_without_lines_left_is_not_understood() -> None:
    script = Script(Dialogue(agent=("Good day.",), callee=()))
    script.next_line()
    assert script.heard() == "Sorry?"
