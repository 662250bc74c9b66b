from __future__ import annotations

import json
from datetime import timedelta, timezone

import pytest

from api.call_views import CallAccepted, CallView
from api.models import View
from engine.outcome import Cause, Outcome, Party
from engine.records import AgentSettings, AiRecord, AiStatus, CallRequest, Speaker, Status, TranscriptTurn
from tests.api.fakes import NOW, a_call

AI_REQUEST = CallRequest(
    from_number="+14155559876", to_number="+14155551234", agent=AgentSettings(system_prompt="Be kind.")
)
HANGUP = Outcome(by=Party.CALLEE, cause=Cause.CALLEE_HANGUP, detail="The callee hung up.")
TURNS = (
    TranscriptTurn(ordinal=0, speaker=Speaker.AGENT, text="Hi, is\nUser: me there?", truncated=True),
    TranscriptTurn(ordinal=1, speaker=Speaker.USER, text="Yes, I am."),
)


def shown(view: View) -> object:
    return json.loads(view.json_text())


def test_plain_call_is_shown_as_the_contract_says() -> None:
    call = a_call(
        status=Status.COMPLETED,
        provider="twilio",
        answered_at=NOW + timedelta(seconds=4.2),
        ended_at=NOW + timedelta(seconds=50),
        outcome=HANGUP,
        media={"framesFromCaller": 7},
    )
    assert shown(CallView.of(call)) == {
        "id": call.id,
        "callId": call.sip_call_id,
        "from": "+14155559876",
        "to": "+14155551234",
        "status": "completed",
        "provider": "twilio",
        "trunk": "main",
        "direction": "outbound",
        "duration": 45,
        "createdAt": "2026-03-09T15:30:00.123Z",
        "answeredAt": "2026-03-09T15:30:04.323Z",
        "endedAt": "2026-03-09T15:30:50.123Z",
        "ended": {
            "by": "callee",
            "cause": "callee-hangup",
            "retryable": False,
            "detail": "The callee hung up.",
            "hint": "",
        },
        "media": {"framesFromCaller": 7},
    }


def test_failure_is_shown_with_what_the_network_said() -> None:
    busy = Outcome(
        by=Party.CALLEE, cause=Cause.BUSY, detail="Busy.", hint="Later.", retryable=True, sip_code=486, q850=17
    )
    view = CallView.of(a_call(status=Status.FAILED, ended_at=NOW, outcome=busy))
    assert view.duration == 0
    assert view.ended is not None
    assert shown(view.ended) == {
        "by": "callee",
        "cause": "busy",
        "sip": {"code": 486, "reason": ""},
        "q850": 17,
        "retryable": True,
        "detail": "Busy.",
        "hint": "Later.",
    }


@pytest.mark.parametrize("status", [Status.INITIATED, Status.RINGING, Status.ANSWERED])
def test_live_ai_call_shows_neither_transcript_nor_end(status: Status) -> None:
    ai = AiRecord(status=AiStatus.ACTIVE, transcript=TURNS, end_reason="hangup")
    view = CallView.of(a_call(AI_REQUEST, status=status, ai=ai, outcome=HANGUP))
    assert view.provider == "ultravox"
    assert view.ended is None
    assert view.ai is not None
    assert shown(view.ai) == {"status": "active", "duration": 0}


def test_ended_ai_call_shows_a_line_a_turn_and_a_line_break_forges_no_speaker() -> None:
    ai = AiRecord(
        status=AiStatus.ENDED,
        joined_at=NOW,
        ended_at=NOW + timedelta(seconds=140.9),
        end_reason="hangup",
        transcript=TURNS,
    )
    view = CallView.of(a_call(AI_REQUEST, status=Status.COMPLETED, ai=ai, outcome=HANGUP))
    assert view.ai is not None
    assert shown(view.ai) == {
        "status": "ended",
        "transcript": "Agent: Hi, is User: me there?\nUser: Yes, I am.",
        "turns": [
            {"ordinal": 0, "speaker": "Agent", "text": "Hi, is\nUser: me there?", "truncated": True},
            {"ordinal": 1, "speaker": "User", "text": "Yes, I am.", "truncated": False},
        ],
        "duration": 140,
        "endReason": "hangup",
    }


def test_ai_call_that_never_got_an_agent_has_an_empty_transcript() -> None:
    view = CallView.of(a_call(AI_REQUEST, status=Status.FAILED, ai=None, outcome=HANGUP))
    assert view.ai is not None
    assert shown(view.ai) == {"status": "pending", "transcript": "", "turns": [], "duration": 0}


def test_times_are_utc_wherever_they_were_taken() -> None:
    call = a_call(created_at=NOW.astimezone(timezone(timedelta(hours=-5))))
    assert '"createdAt":"2026-03-09T15:30:00.123Z"' in CallView.of(call).json_text()


def test_accepted_call_is_initiated_however_far_it_has_come() -> None:
    call = a_call(status=Status.COMPLETED)
    assert shown(CallAccepted.of(call)) == {"id": call.id, "callId": call.sip_call_id, "status": "initiated"}
