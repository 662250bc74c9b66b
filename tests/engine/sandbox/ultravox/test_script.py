from __future__ import annotations

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox.script import Saying, Script

DIALOGUE = Dialogue(agent=("Good day.", "Goodbye."), callee=("Good day to you.",))


def test_agent_lines_come_once_each_and_the_last_is_marked() -> None:
    script = Script(DIALOGUE)
    lines = [script.next_saying() for _ in range(3)]
    assert lines == [Saying(text="Good day.", last=False), Saying(text="Goodbye.", last=True), None]


def test_user_before_the_opening_says_hello_and_keeps_the_lines() -> None:
    script = Script(DIALOGUE)
    assert script.heard() == "Hello?"
    script.next_saying()
    assert script.heard() == "Good day to you."


def test_user_without_lines_left_is_not_understood() -> None:
    script = Script(Dialogue(agent=("Good day.",), callee=()))
    script.next_saying()
    assert script.heard() == "Sorry?"
