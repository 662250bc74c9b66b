from __future__ import annotations

import pytest

from engine.sandbox.dialogue import APPOINTMENT
from engine.sandbox.ultravox.call import SimulatedCall
from engine.sandbox.ultravox.knobs import CallKnobs
from engine.sandbox.ultravox.requests import CallSettings, read_call

REQUIRED = {
    "agent", "agentId", "billedDuration", "billedSideInputTokens", "billedSideOutputTokens", "billingStatus", "callId",
    "clientVersion", "created", "endReason", "ended", "experimentalSettings", "firstSpeaker", "firstSpeakerSettings",
    "initialOutputMedium", "initialState", "joinUrl", "joined", "metadata", "requestContext", "shortSummary",
    "sipDetails", "summary",
}  # fmt: skip


def _call(knobs: CallKnobs | None = None, settings: CallSettings | None = None) -> SimulatedCall:
    settings = settings or CallSettings(input_hz=8000, output_hz=8000)
    return SimulatedCall("call-1", "ws://join", settings, knobs or CallKnobs(), now=0.0)


def _join(call: SimulatedCall, now: float) -> None:
    call.join(APPOINTMENT, lambda _: b"", now=now, capture_s=0.0)


def test_new_call_shows_all_required_fields_and_no_end() -> None:
    shown = _call().render(0.0)
    assert shown.keys() >= REQUIRED
    assert (shown["joined"], shown["ended"], shown["endReason"]) == (None, None, None)


def test_request_is_echoed_without_its_secrets() -> None:
    body = {
        "medium": {"serverWebSocket": {"inputSampleRate": 8000}},
        "model": None,
        "sharedSecrets": ["s" * 16],
        "selectedTools": [{"toolName": "hangUp"}],
    }
    shown = _call(settings=read_call(body, strict=True)).render(0.0)
    assert shown["medium"] == body["medium"]
    assert shown["selectedTools"] == body["selectedTools"]
    assert shown["model"] == "ultravox-v0.7"
    assert "sharedSecrets" not in shown


def test_call_nobody_joins_ends_unjoined() -> None:
    call = _call()
    call.poll(29.9)
    assert call.render(29.9)["endReason"] is None
    call.poll(30.0)
    assert call.end_reason == "unjoined"
    assert call.render(30.0)["billedDuration"] == "0s"


@pytest.mark.parametrize(("code", "reason"), [(1000, "hangup"), (None, "connection_error")])
def test_joined_call_ends_as_its_conversation_does(code: int | None, reason: str) -> None:
    call = _call()
    _join(call, 1.0)
    assert call.conversation is not None
    call.conversation.closed(code, 2.0)
    call.poll(2.0)
    assert call.render(2.0)["endReason"] == reason


def test_end_may_be_shown_late() -> None:
    call = _call(CallKnobs(end_reason_after_s=1.0))
    call.poll(30.0)
    assert call.render(30.9)["ended"] is None
    assert call.render(31.1)["endReason"] == "unjoined"


def test_verdict_names_faults_and_audio() -> None:
    call = _call()
    _join(call, 0.0)
    assert call.conversation is not None
    call.conversation.receive_audio(bytes(321), 0.1)
    verdict = call.verdict()
    assert verdict["faults"][0]["kind"] == "odd-length"
    assert verdict["audio"]["audioMs"] == 20
