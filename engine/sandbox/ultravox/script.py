"""The script: which line of the dialogue the agent says next."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from engine.sandbox.dialogue import Dialogue

_UNKNOWN_WORDS = "Sorry?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """One line of the agent. After a ``last`` one the agent wants to hang up."""

    text: str
    last: bool


class Script:
    """Returns each of the agent's sayings once. There is no recognizer, so it also makes up the user's words."""

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
        """The words to note for a user turn that ends now."""
        if not self._opened:
            return self._hello
        return self._callee.popleft() if self._callee else _UNKNOWN_WORDS
