from __future__ import annotations

from typing import Any

import pytest

from engine.sandbox.ultravox.fields import InvalidRequest
from engine.sandbox.ultravox.requests import CallSettings, FirstTurn, Inactivity, read_call

SOCKET = {"inputSampleRate": 8000}


def _read(*, strict: bool = True, socket: dict[str, Any] | None = None, **fields: Any) -> CallSettings:
    return read_call({"medium": {"serverWebSocket": {**SOCKET, **(socket or {})}}, **fields}, strict=strict)


def _errors(**fields: Any) -> set[str]:
    with pytest.raises(InvalidRequest) as refused:
        _read(**fields)
    return set(refused.value.errors)


def test_least_request_has_ultravox_defaults() -> None:
    settings = _read()
    assert (settings.input_hz, settings.output_hz, settings.client_buffer_ms) == (8000, 8000, 60)
    assert (settings.join_timeout_s, settings.max_duration_s, settings.media_idle_s) == (30.0, 3600.0, None)
    assert settings.first == FirstTurn(agent=True)
    assert settings.vad.minimum_interruption_ms == 90.0
    assert "transcript" in settings.messages
    assert "userStartedSpeaking" not in settings.messages


def test_null_is_absent() -> None:
    assert _read(model=None, voice=None, systemPrompt=None, maxDuration=None, medium=None or _read().body["medium"])


def test_settings_are_read() -> None:
    settings = _read(
        socket={
            "outputSampleRate": 48000,
            "clientBufferSizeMs": 30000,
            "mediaIdleTimeout": "4s",
            "dataMessages": {"pong": False, "userStartedSpeaking": True},
        },
        maxDuration="2.5s",
        firstSpeakerSettings={"user": {"fallback": {"delay": "4s", "text": "Hello?"}}},
        vadSettings={"minimumInterruptionDuration": "0.48s"},
        inactivityMessages=[{"duration": "20s", "message": "Still there?", "endBehavior": "END_BEHAVIOR_HANG_UP_SOFT"}],
    )
    assert (settings.output_hz, settings.client_buffer_ms, settings.max_duration_s) == (48000, 30000, 2.5)
    assert settings.media_idle_s == 10.0
    assert "pong" not in settings.messages
    assert "userStartedSpeaking" in settings.messages
    assert settings.first == FirstTurn(agent=False, delay_s=4.0, text="Hello?")
    assert settings.vad.minimum_interruption_ms == 480.0
    assert settings.inactivity == (Inactivity(after_s=20.0, text="Still there?", hangs_up=True),)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"temperature": 1.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"model": "gpt"}, "model"),
        ({"languageHint": "x" * 17}, "languageHint"),
        ({"systemPrompt": 1}, "systemPrompt"),
        *[({"maxDuration": value}, "maxDuration") for value in ("30", "1m", ".5s", "030s", "-5s", 30)],
        ({"joinTimeout": "1h"}, "joinTimeout"),
        ({"voice": "Mark", "externalVoice": {}}, "externalVoice"),
        ({"voice": "unknown-voice"}, "voice"),
        ({"voiceOverrides": {}}, "voiceOverrides"),
        ({"firstSpeakerSettings": {}}, "firstSpeakerSettings"),
        ({"firstSpeakerSettings": {"agent": {}, "user": {}}}, "firstSpeakerSettings"),
        ({"firstSpeakerSettings": {"agent": {}}, "firstSpeaker": "FIRST_SPEAKER_AGENT"}, "firstSpeaker"),
        ({"firstSpeaker": "agent"}, "firstSpeaker"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"ultravox.x": "1"}}, "metadata"),
        ({"sharedSecrets": ["short"]}, "sharedSecrets"),
        ({"initialMessages": [{"role": "user"}]}, "initialMessages"),
        ({"retentionPolicy": "retain"}, "retentionPolicy"),
        ({"recordingEnabled": "yes"}, "recordingEnabled"),
        ({"inactivityMessages": [{"duration": "1s", "endBehavior": "X"}]}, "inactivityMessages.0.endBehavior"),
        ({"vadSettings": {"turnEndpointDelay": 1}}, "vadSettings.turnEndpointDelay"),
        ({"socket": {"inputSampleRate": None}}, "medium.serverWebSocket.inputSampleRate"),
        ({"socket": {"inputSampleRate": "8000"}}, "medium.serverWebSocket.inputSampleRate"),
        ({"socket": {"inputSampleRate": 4000}}, "medium.serverWebSocket.inputSampleRate"),
        ({"socket": {"dataMessages": {"nonsense": True}}}, "medium.serverWebSocket.dataMessages.nonsense"),
        ({"prompt": "x"}, "prompt"),
    ],
)
def test_wrong_field_is_named(fields: dict[str, Any], wrong: str) -> None:
    assert _errors(**fields) == {wrong}


def test_every_wrong_field_is_named_at_once() -> None:
    assert _errors(temperature=2, maxDuration="1m", nonsense=1) == {"temperature", "maxDuration", "nonsense"}


@pytest.mark.parametrize("medium", [None, {}, {"webRtc": {}}, {"webRtc": {}, "serverWebSocket": SOCKET}])
def test_any_medium_but_one_server_web_socket_is_refused(medium: Any) -> None:
    with pytest.raises(InvalidRequest, match="medium"):
        read_call({"medium": medium}, strict=True)


def test_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        read_call([], strict=True)


def test_unknown_key_is_tolerated_and_reported_when_not_strict() -> None:
    assert _read(strict=False, nonsense=1).unknown_keys == ("nonsense",)
