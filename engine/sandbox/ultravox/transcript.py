"""The call's transcript: ordinals, the wire's partial and final messages, and the finished turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from engine.sandbox.ultravox.knobs import CallKnobs
from engine.sandbox.ultravox.server_messages import ServerMessages

_BESIDE_DELTA: Final[dict[str, dict[str, object]]] = {
    "bare": {},
    "empty-text": {"text": ""},
    "null-text": {"text": None},
}

Medium = Literal["voice", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A finished turn; times are seconds since the join."""

    role: Literal["user", "agent"]
    text: str
    medium: Medium
    start_s: float
    end_s: float


class Transcript:
    """At most one agent turn is open at a time. Both sides share one sequence of ordinals."""

    def __init__(self, messages: ServerMessages, knobs: CallKnobs, joined_at: float) -> None:
        self.turns: list[Turn] = []
        self._messages = messages
        self._knobs = knobs
        self._joined_at = joined_at
        self._ordinal = -1
        self._opened_at: float | None = None

    def user(self, text: str, medium: Medium, now: float) -> None:
        """Add a whole user turn: the service sends only finals for the user."""
        self._ordinal += 1
        self._send("user", medium, final=True, text=text)
        self._add("user", text, medium, now, now)

    def agent_word(self, word: str, now: float) -> None:
        """Add the agent's next word, with its leading space; the first word opens a turn."""
        if self._opened_at is None:
            if self._knobs.blank_ordinals:
                self._ordinal += 1
                self._send("agent", "voice", final=True, text=" ")
            self._ordinal += 1
            self._opened_at = now
            self._send("agent", "voice", final=False, text=word)
        else:
            beside = _BESIDE_DELTA[self._knobs.deltas]
            self._send("agent", "voice", final=False, **beside, delta=word)

    def agent_final(self, text: str, now: float) -> None:
        """Close the agent's turn with the part that was said. Does nothing when no word was said."""
        if self._opened_at is not None:
            self._send("agent", "voice", final=True, text=text)
            self._add("agent", text, "voice", self._opened_at, now)
            self._opened_at = None

    def _send(self, role: str, medium: Medium, **fields: object) -> None:
        self._messages.send("transcript", role=role, medium=medium, ordinal=self._ordinal, **fields)

    def _add(self, role: Literal["user", "agent"], text: str, medium: Medium, start: float, end: float) -> None:
        start_s, end_s = (round(at - self._joined_at, 3) for at in (start, end))
        self.turns.append(Turn(role=role, text=text, medium=medium, start_s=start_s, end_s=end_s))
