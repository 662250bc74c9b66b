"""An Ultravox session as a machine without I/O: text frames in, what happened out.

Transcripts, by what the service was seen to do:

* A turn has an ordinal, which user and agent share and which may skip numbers. Its pieces end with a final one that
  holds the whole text. What is blank is no turn.
* An interrupted agent turn gets a final text too, cut to what was spoken. Whether it comes before or after
  ``playback_clear_buffer`` is not known; both mean the same here. The ``state`` that leaves ``speaking`` is later.
* A turn may be told again: a ``TurnFinal`` replaces an earlier one of its ordinal. The same one is not told twice.

What the service makes us remember is bounded. A session that goes beyond a bound is reported as ``TooMuch``; what it
sends then is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from media.ultravox.messages import (
    CallStarted,
    ClientToolInvocation,
    PlaybackClearBuffer,
    Role,
    State,
    Transcript,
    Unknown,
    parse,
)

_LONGEST_TURN = 64 * 2**10
"""Characters of one turn: an hour of speech."""
_MOST_TEXT = 4 * 2**20
"""Characters of all turns, corrections and tool invocations' ids together."""
_MOST_TURNS = 10_000
"""Turns, and corrections of turns; and tool invocations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted:
    """The agent's side runs. ``call_id`` is Ultravox's, empty when it did not say."""

    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """What the agent does: ``speaking``, or anything else."""

    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinal:
    """A turn is over. ``truncated``: it was cut off, and ``text`` is as much as was spoken."""

    ordinal: int
    role: Role
    text: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class ClearPlayback:
    """Agent audio received so far is not to be played."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolInvoked:
    """The agent waits for this tool's result; reported once for an ``invocation_id``."""

    name: str
    invocation_id: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TooMuch:
    """The session went beyond a bound; reported once, and nothing follows but the turns that were open.

    ``what`` is the rest of a sentence that begins with the service.
    """

    what: str


SessionEvent = SessionStarted | AgentState | TurnFinal | ClearPlayback | ToolInvoked | TooMuch


@dataclass(slots=True, eq=False)
class _Turn:
    role: Role
    clears: int
    """How often playback had been cleared when the turn began."""
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    """Characters of ``pieces``."""
    cut: bool = False
    told: TurnFinal | None = None
    over: bool = False

    @property
    def text(self) -> str:
        self.pieces = ["".join(self.pieces)]
        return self.pieces[0]


class Session:
    """One session's memory. Feed every text frame to ``receive_text``, and call ``ended`` once after the last."""

    def __init__(self) -> None:
        self._turns: dict[int, _Turn] = {}
        self._finals = 0
        self._text_size = 0
        self._clears = 0
        self._invocations: set[str] = set()
        self._spoken: int | None = None
        """The agent's turn that became final with no ``state`` since: a clear may still say that it was cut."""
        self._excessive = False

    def receive_text(self, text: str) -> list[SessionEvent]:
        """What the frame means, in order; often nothing. Never raises."""
        if self._excessive:
            return []
        events = self._take(text)
        if not self._excessive and (what := self._excess()):
            self._excessive = True
            events.append(TooMuch(what))
        return events

    def _take(self, text: str) -> list[SessionEvent]:
        match parse(text):
            case Transcript() as piece:
                return list(self._transcribe(piece))
            case State(state=state):
                self._spoken = None
                return [AgentState(state=state)]
            case PlaybackClearBuffer():
                return [ClearPlayback(), *self._cut()]
            case ClientToolInvocation() as invocation:
                if invocation.invocation_id in self._invocations:
                    return []
                self._invocations.add(invocation.invocation_id)
                self._text_size += len(invocation.invocation_id)
                return [
                    ToolInvoked(
                        name=invocation.tool_name,
                        invocation_id=invocation.invocation_id,
                        parameters=invocation.parameters,
                    )
                ]
            case CallStarted(call_id=call_id):
                return [SessionStarted(call_id=call_id)]
            case Unknown():
                return []

    def ended(self) -> list[SessionEvent]:
        """The turns that were still open, each with what was heard of it."""
        still_open = [(ordinal, turn) for ordinal, turn in sorted(self._turns.items()) if not turn.over]
        return [event for ordinal, turn in still_open for event in self._tell(ordinal, turn, truncated=True)]

    def _excess(self) -> str:
        """Which bound is passed, or nothing."""
        if self._text_size > _MOST_TEXT:
            return f"sent more than {_MOST_TEXT} characters of text"
        if max(len(self._turns), self._finals, len(self._invocations)) > _MOST_TURNS:
            return f"sent more than {_MOST_TURNS} turns or tool invocations"
        return ""

    def _transcribe(self, piece: Transcript) -> Iterator[SessionEvent]:
        turn = self._turns.get(piece.ordinal)
        if turn is None:
            turn = self._turns[piece.ordinal] = _Turn(piece.role, self._clears)
        said = piece.text if piece.text.strip() else ""
        if turn.over and not (piece.final and said):
            return  # a late piece of what is told already
        more = said or piece.delta or piece.text
        if len(more) + (0 if said else turn.size) > _LONGEST_TURN:
            self._excessive = True
            yield TooMuch(f"sent more than {_LONGEST_TURN} characters in a turn")
            return
        heard = turn.text if piece.final else ""
        if said:
            turn.pieces, turn.size = [], 0
        if more:
            turn.pieces.append(more)
            turn.size += len(more)
            self._text_size += len(more)
        if turn.role == "agent":
            self._spoken = piece.ordinal if piece.final else None
        if piece.final:
            if not turn.over:
                turn.cut = turn.cut or (turn.role == "agent" and self._clears > turn.clears)
            shortened = turn.role == "agent" and _length(turn.text) < _length(heard)
            yield from self._tell(piece.ordinal, turn, truncated=turn.cut or shortened)

    def _cut(self) -> Iterator[TurnFinal]:
        self._clears += 1
        if self._spoken is not None:
            turn = self._turns[self._spoken]
            turn.cut = True
            yield from self._tell(self._spoken, turn, truncated=True)

    def _tell(self, ordinal: int, turn: _Turn, *, truncated: bool) -> Iterator[TurnFinal]:
        final = TurnFinal(ordinal=ordinal, role=turn.role, text=turn.text.strip(), truncated=truncated)
        turn.over = True
        if final.text and final != turn.told:
            turn.told = final
            self._finals += 1
            yield final


def _length(text: str) -> int:
    return len("".join(text.split()))
