"""The messages to the client, in order, without those that the request switched off."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

_SWITCHES: Final = {
    "call_started": "callStarted",
    "state": "state",
    "transcript": "transcript",
    "client_tool_invocation": "clientToolInvocation",
    "playback_clear_buffer": "playbackClearBuffer",
    "pong": "pong",
    "user_started_speaking": "userStartedSpeaking",
    "user_stopped_speaking": "userStoppedSpeaking",
}
"""Message types and their switch in ``EnabledDataMessages``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Send a close frame with this code; nothing more will follow."""

    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Reset the TCP connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Send a WebSocket ping."""


Outgoing = str | bytes | Close | Cut | Ping


class ServerMessages:
    """Collects messages until the owner of the socket takes them. ``enabled`` are the switches that are on."""

    def __init__(self, enabled: frozenset[str]) -> None:
        self._enabled = enabled
        self._pending: list[Outgoing] = []

    def send(self, message_type: str, /, **fields: object) -> None:
        """Queue a data message, unless its type is switched off."""
        if _SWITCHES[message_type] in self._enabled:
            self._pending.append(json.dumps({"type": message_type, **fields}))

    def put(self, outgoing: Outgoing) -> None:
        """Queue audio, an end, or anything else as it is."""
        self._pending.append(outgoing)

    def take(self) -> list[Outgoing]:
        pending, self._pending = self._pending, []
        return pending
