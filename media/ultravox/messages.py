"""Ultravox data messages, the JSON text frames beside the audio, as frozen values.

Types and fields are those of docs.ultravox.ai/apps/datamessages. Nothing a peer sends makes ``parse`` raise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["agent", "user"]

_MAX_ORDINAL = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """The session runs; what was sent before may be lost."""

    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """``idle``, ``listening``, ``thinking``, ``speaking``, or a word newer than this client."""

    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A piece of a turn: ``text``, when not empty, replaces what came before, else ``delta`` continues it."""

    ordinal: int
    role: Role
    text: str
    delta: str
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientToolInvocation:
    """The agent waits for the result of a tool that the client runs."""

    tool_name: str
    invocation_id: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlaybackClearBuffer:
    """Agent audio that is not yet played is not to be played. Audio that follows is new."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything else: another type, a field that is missing or of the wrong type, no JSON object at all."""


ServerMessage = CallStarted | State | Transcript | ClientToolInvocation | PlaybackClearBuffer | Unknown


def parse(text: str) -> ServerMessage:
    """The message in a text frame. Never raises; fields it does not know are ignored."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return Unknown()
    if not isinstance(message, dict):
        return Unknown()
    match message:
        case {"type": "transcript", "role": "agent" | "user" as role, "ordinal": int(ordinal)} if (
            not isinstance(ordinal, bool) and 0 <= ordinal <= _MAX_ORDINAL
        ):
            return Transcript(
                ordinal=ordinal,
                role=role,
                text=_text(message.get("text")),
                delta=_text(message.get("delta")),
                final=message.get("final") is True,
            )
        case {"type": "state", "state": str(state)}:
            return State(state=_text(state))
        case {"type": "playback_clear_buffer"}:
            return PlaybackClearBuffer()
        case {"type": "client_tool_invocation", "toolName": str(name), "invocationId": str(invocation_id)}:
            parameters = message.get("parameters")
            return ClientToolInvocation(
                tool_name=_text(name),
                invocation_id=_text(invocation_id),
                parameters=parameters if isinstance(parameters, dict) else {},
            )
        case {"type": "call_started"}:
            return CallStarted(call_id=_text(message.get("callId")))
    return Unknown()


def _text(value: object) -> str:
    """A string that can be stored and sent on: JSON may escape half a surrogate pair, which UTF-8 cannot carry."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientToolResult:
    """The one answer to a ``ClientToolInvocation``: ``result``, or why there is none."""

    invocation_id: str
    result: str = ""
    error_type: Literal["", "undefined", "implementation-error"] = ""
    error_message: str = ""
    agent_reaction: Literal["speaks", "listens", "speaks-once"] = "speaks"

    def body(self) -> dict[str, object]:
        outcome: dict[str, object] = (
            {"errorType": self.error_type, "errorMessage": self.error_message}
            if self.error_type
            else {"result": self.result, "agentReaction": self.agent_reaction}
        )
        return {"type": "client_tool_result", "invocationId": self.invocation_id, **outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTextMessage:
    """What the user is taken to have typed; digits pressed on the phone, for one."""

    text: str
    urgency: Literal["immediate", "soon", "later"] = "soon"

    def body(self) -> dict[str, object]:
        return {"type": "user_text_message", "text": self.text, "urgency": self.urgency}


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """Let the agent end the call after speaking ``message``."""

    message: str = ""

    def body(self) -> dict[str, object]:
        return {"type": "hang_up", "message": self.message}


ClientMessage = ClientToolResult | UserTextMessage | HangUp


def dump(message: ClientMessage) -> str:
    """The text frame that carries ``message``."""
    return json.dumps(message.body())
