"""Calls as the contract shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from api.models import SipView, Timestamp, View
from engine.outcome import Cause, Outcome, Party
from engine.records import (
    AiRecord,
    AiStatus,
    Attempt,
    CallRecord,
    Speaker,
    Status,
    TranscriptTurn,
)


class CallAccepted(View):
    """The call is being placed."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    call_id: str = Field(pattern="^CA[0-9a-f]{32}$")
    status: Literal["initiated"]

    @classmethod
    def of(cls, call: CallRecord) -> CallAccepted:
        """The same answer for the same call, whatever its status is by now."""
        return cls(id=call.id, call_id=call.sip_call_id, status="initiated")


class CallEnded(View):
    """The call has ended or is being hung up."""

    ended: Literal[True]


class TranscriptDeleted(View):
    """The call's transcript and the agent's prompt and tools are deleted."""

    deleted: Literal[True]


class TurnView(View):
    """A finished turn of the conversation. ``truncated``: the speaker was interrupted after this text."""

    ordinal: int
    speaker: Speaker
    text: str
    truncated: bool

    @classmethod
    def of(cls, turn: TranscriptTurn) -> TurnView:
        return cls(ordinal=turn.ordinal, speaker=turn.speaker, text=turn.text, truncated=turn.truncated)


class AiView(View):
    """The AI side of a call. ``transcript``, ``turns`` and ``endReason`` are available after the call has ended."""

    status: AiStatus
    transcript: str | None = Field(default=None, description="one line per turn: `Agent: …` or `User: …`")
    turns: list[TurnView] | None = None
    duration: int = Field(description="whole seconds from joining to the end")
    end_reason: str | None = Field(default=None, description="the reason given by the agent service")

    @classmethod
    def of(cls, ai: AiRecord, *, final: bool, words: bool = True) -> AiView:
        return cls(
            status=ai.status,
            transcript=_transcript(ai) if final and words else None,
            turns=[TurnView.of(turn) for turn in ai.transcript] if final and words else None,
            duration=ai.duration_s,
            end_reason=ai.end_reason if final else None,
        )


def _transcript(ai: AiRecord) -> str:
    # A line break inside a turn must not look like the next speaker.
    return "\n".join(f"{turn.speaker}: {' '.join(turn.text.splitlines())}" for turn in ai.transcript)


class EndView(View):
    """How the call ended, and who ended it."""

    by: Party
    cause: Cause
    sip: SipView | None = None
    q850: int | None = Field(default=None, description="the cause in a Reason header (RFC 3326)")
    retryable: bool
    detail: str = Field(description="a sentence for people")
    hint: str = Field(description="what to do about it; may be empty")

    @classmethod
    def of(cls, outcome: Outcome) -> EndView:
        code, reason = outcome.sip_code, outcome.sip_reason or ""
        return cls(
            by=outcome.by,
            cause=outcome.cause,
            sip=SipView(code=code, reason=reason) if code is not None else None,
            q850=outcome.q850,
            retryable=outcome.retryable,
            detail=outcome.detail,
            hint=outcome.hint,
        )


class AttemptView(View):
    """One INVITE through one trunk, and its result."""

    trunk: str
    sip_call_id: str = Field(description="the SIP Call-ID; `callId` for the first attempt")
    started_at: Timestamp
    ended_at: Timestamp | None = None
    cause: Cause | None = Field(default=None, description="as in `ended`, once the attempt has ended")
    sip: SipView | None = None
    q850: int | None = None
    detail: str | None = None

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptView:
        end = EndView.of(attempt.outcome) if attempt.outcome else None
        return cls(
            trunk=attempt.trunk,
            sip_call_id=attempt.sip_call_id,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            **({name: getattr(end, name) for name in ("cause", "sip", "q850", "detail")} if end else {}),
        )


class CallView(View):
    """A call. ``ai`` is present for AI calls, ``ended`` once the call has ended."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    call_id: str = Field(pattern="^CA[0-9a-f]{32}$")
    from_: str = Field(serialization_alias="from")
    to: str
    status: Status
    provider: str = Field(description="`ultravox` for an AI call, else the trunk's provider")
    trunk: str
    direction: Literal["outbound"]
    duration: int = Field(description="whole seconds from answer to end; 0 if it was never answered")
    created_at: Timestamp
    answered_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    metadata: dict[str, str] | None = Field(default=None, description="as in the request, if any")
    ai: AiView | None = None
    ended: EndView | None = None
    attempts: list[AttemptView] | None = Field(default=None, description="the trunks that were tried, in order")
    media: dict[str, Any] | None = Field(
        default=None, description="counters of the audio path, once the call has ended"
    )

    @classmethod
    def of(cls, call: CallRecord, *, words: bool = True) -> CallView:
        """``words``: with the transcript."""
        asked, final = call.request, call.status.final
        return cls(
            id=call.id,
            call_id=call.sip_call_id,
            from_=asked.from_number,
            to=asked.to_number,
            status=call.status,
            provider="ultravox" if asked.agent else call.provider,
            trunk=call.trunk,
            direction="outbound",
            duration=call.duration_s,
            created_at=call.created_at,
            answered_at=call.answered_at,
            ended_at=call.ended_at,
            metadata=dict(asked.metadata) or None,
            ai=AiView.of(call.ai or AiRecord(), final=final, words=words) if asked.agent else None,
            ended=EndView.of(call.outcome) if final and call.outcome else None,
            attempts=[AttemptView.of(attempt) for attempt in call.attempts] or None,
            media={to_camel(name): value for name, value in call.media.items()} if final and call.media else None,
        )


class CallPage(View):
    """Calls, newest first, without their transcripts."""

    calls: list[CallView]
    next_cursor: str | None = Field(default=None, description="the `cursor` of the next page; absent on the last page")


def show_call(call: CallRecord) -> Mapping[str, Any]:
    """The call as GET shows it, for the events that webhooks receive."""
    return CallView.of(call).model_dump(mode="json", exclude_none=True)
