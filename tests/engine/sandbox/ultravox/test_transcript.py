from __future__ import annotations

import json
from typing import Any

from engine.sandbox.ultravox.knobs import CallKnobs
from engine.sandbox.ultravox.server_messages import ServerMessages
from engine.sandbox.ultravox.transcript import Transcript, Turn


def _sent(messages: ServerMessages) -> list[dict[str, Any]]:
    return [json.loads(it) for it in messages.take() if isinstance(it, str)]


def test_both_sides_share_the_ordinals() -> None:
    messages = ServerMessages(frozenset(["transcript"]))
    transcript = Transcript(messages, CallKnobs(), joined_at=100.0)
    transcript.agent_word("Good", 101.0)
    transcript.agent_word(" day.", 101.5)
    transcript.agent_final("Good day.", 102.0)
    transcript.user("Hello.", "voice", 103.0)
    transcript.agent_word("Bye.", 104.0)
    assert [it["ordinal"] for it in _sent(messages)] == [0, 0, 0, 1, 2]
    assert transcript.turns == [
        Turn(role="agent", text="Good day.", medium="voice", start_s=1.0, end_s=2.0),
        Turn(role="user", text="Hello.", medium="voice", start_s=3.0, end_s=3.0),
    ]


def test_turn_of_which_no_word_was_said_leaves_no_trace() -> None:
    messages = ServerMessages(frozenset(["transcript"]))
    transcript = Transcript(messages, CallKnobs(), joined_at=0.0)
    transcript.agent_final("", 1.0)
    assert _sent(messages) == []
    assert transcript.turns == []


def test_empty_text_may_stand_beside_a_delta() -> None:
    messages = ServerMessages(frozenset(["transcript"]))
    transcript = Transcript(messages, CallKnobs(deltas="empty-text"), joined_at=0.0)
    transcript.agent_word("Good", 0.0)
    transcript.agent_word(" day.", 0.0)
    assert [(it.get("text"), it.get("delta")) for it in _sent(messages)] == [("Good", None), ("", " day.")]
