"""The sandbox's conversation: the lines of its agent and of its callee."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """``agent[0]`` opens and ``agent[n + 1]`` answers ``callee[n]``. The agent hangs up after its last line."""

    agent: tuple[str, ...]
    callee: tuple[str, ...]
    hello: str = "Hello?"
    """The callee says this when nobody has spoken yet."""


APPOINTMENT = Dialogue(
    agent=(
        "Hello, this is Maple Clinic. Your check-up is tomorrow at ten. Can you make it?",
        "Lovely. Shall we text you a reminder?",
        "Done. See you tomorrow. Goodbye!",
    ),
    callee=("Yes, I can.", "Yes, please."),
)
