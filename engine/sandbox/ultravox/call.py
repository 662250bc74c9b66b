"""One call as REST shows it: created, perhaps joined, ended. The simulator adds its verdict on the client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox.conversation import Conversation
from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import CallKnobs
from engine.sandbox.ultravox.requests import CallSettings
from engine.sandbox.ultravox.utterance import EndReason

_NULL_FIELDS: Final = (
    "agent agentId billedDuration billedSideInputTokens billedSideOutputTokens clientVersion requestContext "
    "shortSummary sipDetails summary voice externalVoice voiceOverrides languageHint timeExceededMessage systemPrompt"
)
_DEFAULTS: Final[dict[str, Any]] = {
    **dict.fromkeys(_NULL_FIELDS.split()),
    "billingStatus": "BILLING_STATUS_PENDING",
    "experimentalSettings": {},
    "firstSpeakerSettings": {"agent": {}},
    "inactivityMessages": [],
    "initialOutputMedium": "MESSAGE_MEDIUM_VOICE",
    "initialState": {},
    "joinTimeout": "30s",
    "maxDuration": "3600s",
    "metadata": {},
    "model": "ultravox-v0.7",
    "recordingEnabled": False,
    "selectedTools": [],
    "temperature": 0.0,
    "transcriptOptional": True,
}
_UNSHOWN: Final = frozenset(("sharedSecrets", "dataConnection", "initialMessages", "retentionPolicy"))


class SimulatedCall:
    """Ended exactly once, with one reason. ``now`` is always the event loop's time."""

    def __init__(self, call_id: str, join_url: str, settings: CallSettings, knobs: CallKnobs, *, now: float) -> None:
        self.call_id = call_id
        self.join_url = join_url
        self.settings = settings
        self.knobs = knobs
        self.faults = ClientFaults(since=now)
        self.conversation: Conversation | None = None
        self.created = _clock()
        self.joined: datetime | None = None
        self.ended: datetime | None = None
        self.end_reason: EndReason | None = None
        self.client_version: str | None = None
        self._join_by = now + settings.join_timeout_s
        self._ended_at = 0.0

    def join(self, dialogue: Dialogue, voice: Callable[[str], bytes], *, now: float, capture_s: float) -> Conversation:
        """The one client has joined. Call at most once, and not after the end."""
        self.joined = _clock()
        self.conversation = Conversation(
            self.call_id, self.settings, dialogue, self.knobs, voice, self.faults, now=now, capture_s=capture_s
        )
        return self.conversation

    def poll(self, now: float) -> None:
        """End the call when nobody joined in time, or when its conversation has ended."""
        conversation = self.conversation
        if self.ended is None and conversation is None and now >= self._join_by:
            self._end("unjoined", now)
        elif self.ended is None and conversation is not None and conversation.end_reason is not None:
            self._end(conversation.end_reason, now)

    def render(self, now: float) -> dict[str, Any]:
        """The ``Call`` object."""
        over = self.ended is not None and now >= self._ended_at + self.knobs.end_reason_after_s
        settings = {key: value for key, value in self.settings.body.items() if value is not None}
        shown = {key: value for key, value in settings.items() if key not in _UNSHOWN}
        return {
            **_DEFAULTS,
            **shown,
            "callId": self.call_id,
            "clientVersion": self.client_version,
            "created": _rfc3339(self.created),
            "joined": _rfc3339(self.joined),
            "ended": _rfc3339(self.ended) if over else None,
            "endReason": self.end_reason if over else None,
            "billedDuration": self._billed() if over else None,
            "firstSpeaker": f"FIRST_SPEAKER_{'AGENT' if self.settings.first.agent else 'USER'}",
            "joinUrl": self.join_url,
        }

    def messages(self) -> list[dict[str, Any]]:
        """Finished turns as REST shows them."""
        turns = self.conversation.transcript.turns if self.conversation is not None else []
        return [
            {
                "role": f"MESSAGE_ROLE_{turn.role.upper()}",
                "text": turn.text,
                "medium": f"MESSAGE_MEDIUM_{turn.medium.upper()}",
                "callStageMessageIndex": index,
                "callStageId": self.call_id,
                "wallClockTimespan": {"start": f"{turn.start_s}s", "end": f"{turn.end_s}s"},
            }
            for index, turn in enumerate(turns)
        ]

    def verdict(self) -> dict[str, Any]:
        """What the client did: the answer of ``GET /simulator/calls/{id}``."""
        conversation = self.conversation
        return {
            "callId": self.call_id,
            "joined": self.joined is not None,
            "endReason": self.end_reason,
            "faults": self.faults.render(),
            "audio": conversation.audio.render() if conversation is not None else None,
            "state": conversation.agent.speech.state if conversation is not None else None,
            "clears": conversation.agent.speech.clears if conversation is not None else 0,
            "turns": len(conversation.transcript.turns) if conversation is not None else 0,
        }

    def _end(self, reason: EndReason, now: float) -> None:
        self.end_reason = reason
        self.ended = _clock()
        self._ended_at = now

    def _billed(self) -> str:
        """Per started six seconds from the join."""
        if self.joined is None or self.ended is None:
            return "0s"
        return f"{-(-(self.ended - self.joined).total_seconds() // 6) * 6:.0f}s"


def _clock() -> datetime:
    return datetime.now(UTC)


def _rfc3339(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
