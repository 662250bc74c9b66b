from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.ultravox.messages import (
    CallStarted,
    ClientToolInvocation,
    ClientToolResult,
    HangUp,
    PlaybackClearBuffer,
    State,
    Transcript,
    Unknown,
    UserTextMessage,
    dump,
    parse,
)

SOME_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TYPES = ["transcript", "state", "call_started", "client_tool_invocation", "playback_clear_buffer"]
FIELDS = ["callId", "state", "role", "text", "delta", "final", "ordinal", "toolName", "invocationId", "parameters"]


def transcript(**fields: Any) -> str:
    return json.dumps({"type": "transcript", "role": "agent", "ordinal": 0, **fields})


@given(SOME_JSON)
def test_any_json_is_a_message(value: object) -> None:
    parse(json.dumps(value))


@given(st.text())
def test_any_text_is_a_message(text: str) -> None:
    parse(text)


@given(st.dictionaries(st.sampled_from(FIELDS), SOME_JSON), st.sampled_from(TYPES))
def test_known_types_with_any_fields_are_messages_that_can_be_encoded(fields: dict[str, Any], kind: str) -> None:
    match parse(json.dumps({**fields, "type": kind})):
        case Transcript(text=text, delta=delta):
            (text + delta).encode()
        case State(state=text) | CallStarted(call_id=text):
            text.encode()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"type": "call_started", "callId": "c-1"}, CallStarted(call_id="c-1")),
        ({"type": "call_started"}, CallStarted(call_id="")),
        ({"type": "state", "state": "speaking"}, State(state="speaking")),
        ({"type": "state", "state": "a later word"}, State(state="a later word")),
        ({"type": "playback_clear_buffer", "newField": 1}, PlaybackClearBuffer()),
        (
            {"type": "client_tool_invocation", "toolName": "t", "invocationId": "i", "parameters": {"a": 1}},
            ClientToolInvocation(tool_name="t", invocation_id="i", parameters={"a": 1}),
        ),
        (
            {"type": "client_tool_invocation", "toolName": "t", "invocationId": "i"},
            ClientToolInvocation(tool_name="t", invocation_id="i", parameters={}),
        ),
        (
            {"type": "transcript", "role": "user", "medium": "voice", "text": "Hi", "final": True, "ordinal": 3},
            Transcript(ordinal=3, role="user", text="Hi", delta="", final=True),
        ),
        (
            {"type": "transcript", "role": "agent", "text": None, "delta": " you", "final": False, "ordinal": 4},
            Transcript(ordinal=4, role="agent", text="", delta=" you", final=False),
        ),
    ],
)
def test_documented_messages_are_understood(frame: dict[str, Any], message: object) -> None:
    assert parse(json.dumps(frame)) == message


@pytest.mark.parametrize("ordinal", [" ", "1", None, True, -1, 1.5, 10**20, [], {}])
def test_transcript_with_a_strange_ordinal_is_unknown(ordinal: object) -> None:
    assert parse(transcript(text="Hi", final=True, ordinal=ordinal)) == Unknown()


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[]", "null", '{"type": 7}', '{"type": "pong", "timestamp": 1}', "[" * 100_000, "1" * 5000]
)
def test_what_is_no_known_message_is_unknown(text: str) -> None:
    assert parse(text) == Unknown()


def test_half_a_surrogate_pair_becomes_text_that_utf8_can_carry() -> None:
    message = parse('{"type":"transcript","role":"agent","ordinal":0,"text":"a\\ud800b","final":true}')
    assert isinstance(message, Transcript)
    assert message.text == "a?b"


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (
            ClientToolResult(invocation_id="i", result="42", agent_reaction="listens"),
            {"type": "client_tool_result", "invocationId": "i", "result": "42", "agentReaction": "listens"},
        ),
        (
            ClientToolResult(invocation_id="i", error_type="undefined"),
            {"type": "client_tool_result", "invocationId": "i", "errorType": "undefined", "errorMessage": ""},
        ),
        (UserTextMessage(text="5"), {"type": "user_text_message", "text": "5", "urgency": "soon"}),
        (HangUp(message="Bye"), {"type": "hang_up", "message": "Bye"}),
    ],
)
def test_client_messages_are_written_as_documented(
    message: ClientToolResult | UserTextMessage | HangUp, frame: dict[str, Any]
) -> None:
    assert json.loads(dump(message)) == frame
