"""An Ultravox session as a machine without I/O: text frames in, what happened out.

Transcripts, by what the service was seen to do:

* A turn has an ordinal, which user and agent share and which may skip numbers. Its pieces end with a final one that
  holds the whole text. What is blank is no turn.
* An interrupted agent turn gets a final text too, cut to what was spoken. Whether it comes before or after
  ``playback_clear_buffer`` is not known; both mean the same here. The ``state`` that leaves ``speaking`` is later.
* A turn may be told again: a ``TurnFinal`` replaces an earlier one of its ordinal. The same one is not told twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    """The agent waits for this tool's result; told once for an ``invocation_id``."""

    name: str
    invocation_id: str
    parameters: Mapping[str, Any]


SessionEvent = SessionStarted | AgentState | TurnFinal | ClearPlayback | ToolInvoked


@dataclass(slots=True, eq=False)
class _Turn:
    role: Role
    text: str = ""
    cut: bool = False
    told: TurnFinal | None = None
    over: bool = False


class Session:
    """One session's memory. Feed every text frame to ``receive_text``, and call ``ended`` once after the last."""

    def __init__(self) -> None:
        self._turns: dict[int, _Turn] = {}
        self._invocations: set[str] = set()
        self._spoken: int | None = None
        """The agent's turn that became final with no ``state`` since: a clear may still say that it was cut."""

    def receive_text(self, text: str) -> list[SessionEvent]:
        """What the frame means, in order; often nothing. Never raises."""
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

    def _transcribe(self, piece: Transcript) -> Iterator[TurnFinal]:
        turn = self._turns.setdefault(piece.ordinal, _Turn(piece.role))
        said = piece.text if piece.text.strip() else ""
        if turn.over and not (piece.final and said):
            return  # a late piece of what is told already
        heard, turn.text = turn.text, said or (turn.text + (piece.delta or piece.text))
        if turn.role == "agent":
            self._spoken = piece.ordinal if piece.final else None
        if piece.final:
            shortened = turn.role == "agent" and _length(turn.text) < _length(heard)
            yield from self._tell(piece.ordinal, turn, truncated=turn.cut or shortened)

    def _cut(self) -> Iterator[TurnFinal]:
        for turn in self._turns.values():
            turn.cut = turn.cut or (turn.role == "agent" and not turn.over)
        if self._spoken is not None:
            turn = self._turns[self._spoken]
            turn.cut = True
            yield from self._tell(self._spoken, turn, truncated=True)

    def _tell(self, ordinal: int, turn: _Turn, *, truncated: bool) -> Iterator[TurnFinal]:
        final = TurnFinal(ordinal=ordinal, role=turn.role, text=turn.text.strip(), truncated=truncated)
        turn.over = True
        if final.text and final != turn.told:
            turn.told = final
            yield final


def _length(text: str) -> int:
    return len("".join(text.split()))
