"""The body of ``POST /api/calls``, checked as strictly as Ultravox documents it, as settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from engine.sandbox.ultravox.fields import Fields, InvalidRequest, is_object, seconds
from engine.sandbox.ultravox.selected_tools import Tool, read_tools

_KNOWN_KEYS: Final = re.compile(
    "systemPrompt|temperature|model|voice|externalVoice|voiceOverrides|languageHint|initialMessages|joinTimeout|"
    "maxDuration|timeExceededMessage|inactivityMessages|selectedTools|medium|recordingEnabled|firstSpeaker|"
    "firstSpeakerSettings|transcriptOptional|initialOutputMedium|vadSettings|experimentalSettings|metadata|"
    "initialState|dataConnection|callbacks|retentionPolicy|sharedSecrets"
)
_MODELS: Final = frozenset(
    ("ultravox-v0.7", "ultravox-v0.6", "ultravox-v0.6-llama3.3-70b", "ultravox-v0.6-gemma3-27b", "fixie-ai/ultravox")
)
_MEDIA: Final = ("serverWebSocket", "webRtc", "twilio", "telnyx", "plivo", "exotel", "sip")
_ROLES: Final = frozenset(
    f"MESSAGE_ROLE_{name}" for name in ("UNSPECIFIED", "USER", "AGENT", "TOOL_CALL", "TOOL_RESULT")
)
_SWITCHES: Final = {
    "pong": True,
    "state": True,
    "transcript": True,
    "clientToolInvocation": True,
    "dataConnectionToolInvocation": False,
    "playbackClearBuffer": True,
    "callStarted": True,
    "debug": False,
    "callEvent": False,
    "toolUsed": False,
    "userStartedSpeaking": False,
    "userStoppedSpeaking": False,
    "invokingTool": False,
}
"""``EnabledDataMessages`` with their defaults on ``serverWebSocket``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTurn:
    """Who opens the call. ``delay_s`` is the agent's delay, or that of the fallback when the user is to speak first."""

    agent: bool = True
    delay_s: float | None = None
    text: str | None = None
    uninterruptible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inactivity:
    """A message after ``after_s`` of silence. With ``hangs_up`` the call ends after it; when ``strict``, even if the
    user speaks."""

    after_s: float
    text: str
    hangs_up: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vad:
    """``vadSettings``; an interruption is never shorter than a turn."""

    turn_endpoint_ms: float = 384.0
    minimum_turn_ms: float = 0.0
    minimum_interruption_ms: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """The part of a create request that the simulator uses. The defaults are Ultravox's."""

    input_hz: int
    output_hz: int
    client_buffer_ms: int = 60
    media_idle_s: float | None = None
    """At least ten seconds, even if the request asks for less; None is off."""
    messages: frozenset[str] = frozenset(key for key, on in _SWITCHES.items() if on)
    join_timeout_s: float = 30.0
    max_duration_s: float = 3600.0
    time_exceeded: str | None = None
    first: FirstTurn = FirstTurn()
    vad: Vad = Vad()
    inactivity: tuple[Inactivity, ...] = ()
    tools: tuple[Tool, ...] = ()
    unknown_keys: tuple[str, ...] = ()
    body: dict[str, Any] = field(default_factory=dict, repr=False)


def read_call(body: object, *, strict: bool) -> CallSettings:
    """Settings from a decoded JSON body. Raises ``InvalidRequest`` that names every wrong field.

    An unknown top-level key is an error when ``strict``; otherwise it is reported in ``unknown_keys``.
    """
    if not is_object(body):
        raise InvalidRequest({"detail": ["Expected a JSON object."]})
    fields = Fields(body)
    unknown = tuple(sorted(key for key in body if not _KNOWN_KEYS.fullmatch(key)))
    if strict:
        for key in unknown:
            fields.error(key, "Unknown field.")
    _check_model(fields)
    _check_context(fields)
    settings = CallSettings(
        **_read_medium(fields),
        vad=_read_vad(fields),
        join_timeout_s=seconds(fields, "joinTimeout", 30.0),
        max_duration_s=seconds(fields, "maxDuration", 3600.0),
        time_exceeded=fields.text("timeExceededMessage"),
        first=_read_first(fields),
        inactivity=_read_inactivity(fields),
        tools=read_tools(fields),
        unknown_keys=unknown,
        body=body,
    )
    if fields.errors:
        raise InvalidRequest(fields.errors)
    return settings


def _check_model(fields: Fields) -> None:
    fields.text("systemPrompt")
    fields.number("temperature", 0.0, 0.0, 1.0)
    fields.choice("model", _MODELS)
    fields.text("languageHint", max_length=16)
    voice = fields.text("voice")
    if voice is not None and voice.startswith("unknown"):
        fields.error("voice", f"Voice {voice} does not exist.")
    if voice is not None and fields.get("externalVoice") is not None:
        fields.error("externalVoice", "voice and externalVoice are mutually exclusive.")
    if voice is None and fields.get("voiceOverrides") is not None:
        fields.error("voiceOverrides", "voiceOverrides requires voice.")
    fields.choice("initialOutputMedium", ("MESSAGE_MEDIUM_UNSPECIFIED", "MESSAGE_MEDIUM_VOICE", "MESSAGE_MEDIUM_TEXT"))


def _check_context(fields: Fields) -> None:
    for key in ("recordingEnabled", "transcriptOptional"):
        fields.flag(key, default=False)
    for key in ("experimentalSettings", "initialState", "dataConnection", "callbacks"):
        fields.section(key)
    policies = ("UNSPECIFIED", "RETAIN", "AUTO_DELETE")
    fields.choice("retentionPolicy", [f"CALL_RETENTION_POLICY_{name}" for name in policies])
    for message in fields.list_of_objects("initialMessages"):
        if message.get("role") not in _ROLES:
            fields.error("initialMessages", f"{message.get('role')!r} is not a message role.")
    metadata = fields.section("metadata")
    for key, value in metadata.values.items() if metadata is not None else ():
        if not isinstance(value, str):
            fields.error("metadata", f"The value of {key!r} must be a string.")
        if key.startswith("ultravox."):
            fields.error("metadata", "Keys must not start with 'ultravox.'.")
    secrets = fields.get("sharedSecrets") or []
    if not isinstance(secrets, list) or not all(isinstance(it, str) and 16 <= len(it) <= 127 for it in secrets):
        fields.error("sharedSecrets", "Each secret must have 16 to 127 characters.")


def _read_medium(fields: Fields) -> dict[str, Any]:
    medium = fields.section("medium")
    given = [key for key in _MEDIA if medium is not None and medium.get(key) is not None]
    if medium is None or given != ["serverWebSocket"]:
        fields.error("medium", "This simulator needs exactly one medium, serverWebSocket.")
    socket = medium.section("serverWebSocket") if medium is not None else None
    if socket is None:
        return {"input_hz": 8000, "output_hz": 8000}
    input_hz = socket.integer("inputSampleRate", None)
    if socket.get("inputSampleRate") is None:
        socket.error("inputSampleRate", "This field is required.")
    output_hz = socket.integer("outputSampleRate", input_hz)
    for rate_hz in (input_hz, output_hz):
        if rate_hz is not None and not 8000 <= rate_hz <= 48000:
            socket.error("inputSampleRate", "Expected 8000 to 48000.")
    idle_s = seconds(socket, "mediaIdleTimeout", 0.0)
    return {
        "input_hz": input_hz or 8000,
        "output_hz": output_hz or 8000,
        "client_buffer_ms": socket.integer("clientBufferSizeMs", 60),
        "media_idle_s": max(10.0, idle_s) if idle_s else None,
        "messages": _read_switches(socket),
    }


def _read_switches(socket: Fields) -> frozenset[str]:
    given = socket.section("dataMessages") or Fields({})
    for key in given.values.keys() - _SWITCHES.keys():
        given.error(key, "Unknown field.")
    return frozenset(key for key, default in _SWITCHES.items() if given.flag(key, default=default))


def _read_first(fields: Fields) -> FirstTurn:
    speaker = fields.choice("firstSpeaker", [f"FIRST_SPEAKER_{name}" for name in ("UNSPECIFIED", "AGENT", "USER")])
    settings = fields.section("firstSpeakerSettings")
    if settings is None:
        return FirstTurn(agent=speaker != "FIRST_SPEAKER_USER")
    if speaker is not None:
        fields.error("firstSpeaker", "Set firstSpeakerSettings only.")
    agent, user = settings.section("agent"), settings.section("user")
    if (agent is None) == (user is None):
        settings.error("", "Exactly one of agent and user must be set.")
    if agent is not None:
        return _read_opening(agent, agent=True)
    fallback = user.section("fallback") if user is not None else None
    return _read_opening(fallback, agent=False) if fallback is not None else FirstTurn(agent=False)


def _read_opening(opening: Fields, *, agent: bool) -> FirstTurn:
    opening.text("prompt")
    return FirstTurn(
        agent=agent,
        delay_s=seconds(opening, "delay", 0.0) if opening.get("delay") is not None or not agent else None,
        text=opening.text("text"),
        uninterruptible=opening.flag("uninterruptible", default=False),
    )


def _read_vad(fields: Fields) -> Vad:
    vad = fields.section("vadSettings") or Fields({})
    vad.number("frameActivationThreshold", 0.1, 0.1, 1.0)
    turn_s = seconds(vad, "minimumTurnDuration", 0.0)
    return Vad(
        turn_endpoint_ms=seconds(vad, "turnEndpointDelay", 0.384) * 1000,
        minimum_turn_ms=turn_s * 1000,
        minimum_interruption_ms=max(turn_s, seconds(vad, "minimumInterruptionDuration", 0.09)) * 1000,
    )


def _read_inactivity(fields: Fields) -> tuple[Inactivity, ...]:
    messages = []
    for index, message in enumerate(fields.list_of_objects("inactivityMessages")):
        timed = Fields(message, f"inactivityMessages.{index}", fields.errors)
        endings = [f"END_BEHAVIOR_{name}" for name in ("UNSPECIFIED", "HANG_UP_SOFT", "HANG_UP_STRICT")]
        ending = timed.choice("endBehavior", endings) or ""
        messages.append(
            Inactivity(
                after_s=seconds(timed, "duration", 0.0),
                text=timed.text("message") or "",
                hangs_up="HANG_UP" in ending,
                strict=ending.endswith("STRICT"),
            )
        )
    return tuple(messages)
