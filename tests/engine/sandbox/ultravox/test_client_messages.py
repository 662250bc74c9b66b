from __future__ import annotations

import json
from typing import Any

import pytest

from engine.sandbox.ultravox.client_messages import read_message
from engine.sandbox.ultravox.faults import ClientFaults


@pytest.mark.parametrize(
    "message",
    [
        {"type": "ping", "timestamp": 1.5},
        {"type": "user_text_message", "text": "", "urgency": "immediate", "deferResponse": True},
        {"type": "input_text_message", "text": "hello"},
        {"type": "set_output_medium", "medium": "text"},
        {"type": "client_tool_result", "invocationId": "a", "result": "{}", "agentReaction": "listens"},
        {"type": "client_tool_result", "invocationId": "a", "errorType": "undefined"},
        {"type": "forced_agent_message", "content": "One moment.", "uninterruptible": True},
        {"type": "hang_up"},
    ],
)
def test_documented_message_is_taken_without_fault(message: dict[str, Any]) -> None:
    faults = ClientFaults()
    assert read_message(json.dumps(message), faults, 0.0) == message
    assert not faults.counts


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "malformed-json"),
        ("[]", "malformed-json"),
        ('{"type": "interrupt"}', "unknown-type"),
        ('{"type": "ping"}', "missing-field"),
        ('{"type": "user_text_message", "text": "x", "urgency": "now"}', "bad-value"),
        ('{"type": "client_tool_result", "invocationId": "a", "result": {"ok": true}}', "bad-value"),
        ('{"type": "client_tool_result", "invocationId": "a", "responseType": "tool-error"}', "bad-value"),
        ('{"type": "client_tool_result", "invocationId": "a"}', "bad-value"),
        ('{"type": "client_tool_result", "invocationId": "a", "result": "", "errorType": "undefined"}', "bad-value"),
    ],
)
def test_wrong_message_is_ignored_and_counted(text: str, fault: str) -> None:
    faults = ClientFaults()
    assert read_message(text, faults, 0.0) is None
    assert faults.counts == {fault: 1}


def test_snake_case_invocation_id_is_a_fault() -> None:
    faults = ClientFaults()
    assert read_message('{"type": "client_tool_result", "invocation_id": "a", "result": ""}', faults, 0.0) is None
    assert faults.counts == {"unknown-field": 1, "missing-field": 1}


def test_oversize_message_is_taken_and_counted() -> None:
    faults = ClientFaults()
    text = json.dumps({"type": "user_text_message", "text": "x" * 15_000})
    assert read_message(text, faults, 0.0) is not None
    assert faults.counts == {"oversize-message": 1}
