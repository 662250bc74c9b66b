"""Which saying comes next: a dialogue being gone through from the agent's side."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from engine.sandbox.dialogue import Dialogue

_UNKNOWN_WORDS = "Sorry?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """``last``: the agent wants to hang up after it."""

    text: str
    last: bool


class Script:
    """Hands out the agent's sayings once each; with no recognizer, it also decides what the user is taken to say."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._agent = deque(dialogue.agent)
        self._callee = deque(dialogue.callee)
        self._hello = dialogue.hello
        self._opened = False

    def next_saying(self) -> Saying | None:
        """The agent's next saying; None when all are said."""
        self._opened = True
        if not self._agent:
            return None
        text = self._agent.popleft()
        return Saying(text=text, last=not self._agent)

    def heard(self) -> str:
        """The words of a user turn that was heard now."""
        if not self._opened:
            return self._hello
        return self._callee.popleft() if self._callee else _UNKNOWN_WORDS
