from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from media.ultravox.session import (
    AgentState,
    ClearPlayback,
    Session,
    SessionEvent,
    SessionStarted,
    ToolInvoked,
    TooMuch,
    TurnFinal,
)

CLEAR = {"type": "playback_clear_buffer"}
LISTENING = {"type": "state", "state": "listening"}
SPEAKING = {"type": "state", "state": "speaking"}


def said(ordinal: int, role: str = "agent", **fields: Any) -> dict[str, Any]:
    return {"type": "transcript", "role": role, "medium": "voice", "ordinal": ordinal, "final": False, **fields}


def heard_in(session: Session, *frames: dict[str, Any]) -> list[SessionEvent]:
    return [event for frame in frames for event in session.receive_text(json.dumps(frame))]


def turns_of(*frames: dict[str, Any]) -> list[tuple[int, str, bool]]:
    """Ordinal, text and truncation of what is told of a session that ends after the frames."""
    session = Session()
    events = [*heard_in(session, *frames), *session.ended()]
    return [(event.ordinal, event.text, event.truncated) for event in events if isinstance(event, TurnFinal)]


def test_deltas_then_a_final_text_are_one_turn_of_that_text() -> None:
    assert turns_of(
        said(0, text="Good"), said(0, delta=" morning"), said(0, delta="."), said(0, text="Good morning. ", final=True)
    ) == [(0, "Good morning.", False)]


def test_final_that_carries_only_the_last_delta_completes_the_text() -> None:
    assert turns_of(said(0, text="Good"), said(0, text="", delta=" day", final=True)) == [(0, "Good day", False)]


def test_final_without_text_or_delta_stands_for_what_was_heard() -> None:
    assert turns_of(said(0, text="Good"), said(0, text=None, delta=None, final=True)) == [(0, "Good", False)]


def test_piece_after_the_final_is_no_new_turn() -> None:
    final = said(0, text="Good day", final=True)
    assert turns_of(final, said(0, delta=" day"), said(0, delta=" day", final=True)) == [(0, "Good day", False)]


def test_second_final_replaces_the_first_and_the_same_one_is_not_told_again() -> None:
    first, second = said(0, "user", text="Hi", final=True), said(0, "user", text="Hi there", final=True)
    assert turns_of(first, first, second) == [(0, "Hi", False), (0, "Hi there", False)]


def test_blank_turns_are_not_told() -> None:
    assert (
        turns_of(said(0, text=" "), said(0, text=" ", final=True), said(1, text="", final=True), said(2, delta=" "))
        == []
    )


def test_user_turn_in_pieces_is_told_once_and_a_shorter_final_is_no_truncation() -> None:
    assert turns_of(said(1, "user", text="I need an"), said(1, "user", text="I need", final=True)) == [
        (1, "I need", False)
    ]


def test_final_shorter_than_the_deltas_is_truncated() -> None:
    assert turns_of(said(0, text="Good"), said(0, delta=" morning"), said(0, text="Good mor", final=True)) == [
        (0, "Good mor", True)
    ]


def test_longer_second_final_takes_the_truncation_back() -> None:
    shortened = [said(0, text="Good morning"), said(0, text="Good", final=True)]
    assert turns_of(*shortened, said(0, text="Good morning", final=True)) == [
        (0, "Good", True),
        (0, "Good morning", False),
    ]


def test_other_spacing_in_the_final_is_no_truncation() -> None:
    assert turns_of(said(0, text=" Good "), said(0, delta=" day "), said(0, text="Good day", final=True)) == [
        (0, "Good day", False)
    ]


def test_clear_before_the_final_marks_the_turn_truncated() -> None:
    assert turns_of(SPEAKING, said(0, text="Good"), CLEAR, said(0, text="Good", final=True), LISTENING) == [
        (0, "Good", True)
    ]


def test_clear_after_the_final_tells_the_turn_again_as_truncated_once() -> None:
    assert turns_of(SPEAKING, said(0, text="Good", final=True), CLEAR, CLEAR, LISTENING) == [
        (0, "Good", False),
        (0, "Good", True),
    ]


def test_clear_in_a_later_turn_leaves_a_finished_one_alone() -> None:
    spoken = [SPEAKING, said(0, text="Good day", final=True), LISTENING, SPEAKING]
    assert turns_of(*spoken, CLEAR) == [(0, "Good day", False)]
    without_state = [said(0, text="Good day", final=True), said(2, text="So"), CLEAR]
    assert turns_of(*without_state) == [(0, "Good day", False), (2, "So", True)]


def test_turns_still_open_at_the_end_are_told_truncated_in_order() -> None:
    assert turns_of(said(3, text="And"), said(1, "user", text="But"), said(3, delta=" so")) == [
        (1, "But", True),
        (3, "And so", True),
    ]


def test_ordinals_may_skip_numbers() -> None:
    assert turns_of(said(2, text="A", final=True), said(7, "user", text="B", final=True)) == [
        (2, "A", False),
        (7, "B", False),
    ]


def test_clear_state_and_late_start_are_told_as_they_come() -> None:
    started = {"type": "call_started", "callId": "c"}
    assert heard_in(Session(), SPEAKING, CLEAR, started) == [
        AgentState(state="speaking"),
        ClearPlayback(),
        SessionStarted(call_id="c"),
    ]


def test_tool_invoked_twice_is_told_once() -> None:
    invocation = {"type": "client_tool_invocation", "toolName": "t", "invocationId": "i", "parameters": None}
    assert heard_in(Session(), invocation, invocation) == [ToolInvoked(name="t", invocation_id="i", parameters={})]


def test_unknown_message_is_nothing() -> None:
    assert heard_in(Session(), {"type": "thread_spawned", "threadId": "x"}) == []


FRAMES = st.one_of(
    st.sampled_from([CLEAR, LISTENING, SPEAKING]),
    st.builds(
        said,
        st.integers(0, 3),
        st.sampled_from(["agent", "user"]),
        text=st.sampled_from([None, "", " ", "Hello", "Hello there"]),
        delta=st.sampled_from([None, "", " ", " you"]),
        final=st.booleans(),
    ),
)


@given(st.lists(FRAMES))
def test_any_order_tells_every_final_text_and_nothing_blank_or_twice_in_a_row(frames: list[dict[str, Any]]) -> None:
    told = turns_of(*frames)
    for ordinal in range(4):
        own = [turn for turn in told if turn[0] == ordinal]
        assert all(before != after for before, after in itertools.pairwise(own))
    assert all(text and text == text.strip() for _, text, _ in told)
    final = {frame["ordinal"] for frame in frames if frame.get("final") and (frame["text"] or "").strip()}
    assert final <= {ordinal for ordinal, _, _ in told}


def excess_of(frames: Iterator[dict[str, Any]], within: int = 200_000) -> tuple[str, int]:
    """What a session is ended for, and after how many frames."""
    session = Session()
    for count, frame in enumerate(itertools.islice(frames, within), 1):
        for event in heard_in(session, frame):
            if isinstance(event, TooMuch):
                assert not heard_in(session, SPEAKING, said(0, text="on", final=True))
                return event.what, count
    raise AssertionError("the session takes everything")


def test_turn_is_bounded_whole_and_in_pieces() -> None:
    longest = 64 * 1024
    assert turns_of(said(0, text="x" * longest, final=True)) == [(0, "x" * longest, False)]
    for frames in (
        iter([said(0, text="x" * (longest + 1), final=True)]),
        itertools.repeat(said(0, delta="x" * 1000)),
    ):
        assert excess_of(frames)[0] == "sent more than 65536 characters in a turn"


def test_number_of_turns_of_corrections_and_of_tool_invocations_is_bounded() -> None:
    turns = (said(ordinal, delta="x") for ordinal in itertools.count())
    corrections = (said(0, text=f"x{number}", final=True) for number in itertools.count())
    tools = (
        {"type": "client_tool_invocation", "toolName": "t", "invocationId": str(number), "parameters": {}}
        for number in itertools.count()
    )
    for frames in (turns, corrections, tools):
        assert excess_of(frames) == ("sent more than 10000 turns or tool invocations", 10_001)


def test_text_of_all_turns_together_is_bounded() -> None:
    what, count = excess_of(said(ordinal, text="x" * 60_000, final=True) for ordinal in itertools.count())
    assert (what, count) == ("sent more than 4194304 characters of text", 70)


def test_turn_in_tiny_pieces_costs_as_much_as_in_large_ones() -> None:
    """Joined at each delta, the 60,000 of them would copy 1.8 GB."""
    session = Session()
    pieces = [json.dumps(said(0, delta="x"))] * 60_000
    tracemalloc.start()
    for piece in pieces:
        session.receive_text(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(session._turns[0].pieces) == len(pieces)
    assert peak < 4 * 2**20
