"""The conversation the sandbox has: what its agent and its callee say, in turn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """``agent[0]`` opens, after the callee's n-th line comes ``agent[n + 1]``; after its last the agent hangs up."""

    agent: tuple[str, ...]
    callee: tuple[str, ...]
    hello: str = "Hello?"
    """What the callee says into silence, before anybody else has spoken."""


APPOINTMENT = Dialogue(
    agent=(
        "Hello, this is Maple Clinic. Your check-up is tomorrow at ten. Can you make it?",
        "Lovely. Shall we text you a reminder?",
        "Done. See you tomorrow. Goodbye!",
    ),
    callee=("Yes, I can.", "Yes, please."),
)
