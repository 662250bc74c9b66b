"""AI calls from the answer to the final record: what is asked of Ultravox, what is kept of it, and each way to end."""

from __future__ import annotations

import logging
import sqlite3
import sys
from functools import partial
from typing import Any

import pytest

from engine import assembly
from engine.log import LogSettings, set_up_logging
from engine.outcome import Cause, Party
from engine.records import AiStatus, CallRecord, Speaker, Status
from engine.sandbox.ultravox import Conversation, CreateReply, Knobs
from engine.sandbox.ultravox.call import SimulatedCall
from engine.sandbox.ultravox.server_messages import Cut
from engine.sip.dtmf import PRESS_KEYS_TOOL
from media.ultravox.rest import UltravoxApi
from tests import audio
from tests.sip.ai_rig import API_KEY, FROM, TO, AiRig, ai_rig, speak
from tests.sip.peers import PASSWORD, SippUas, tone
from tests.sip.rtp import RtpTap

pytestmark = pytest.mark.sip

ANSWERS = "uas-answers-and-echoes-rtp"


def how(record: CallRecord) -> tuple[Status, Party, Cause]:
    assert record.outcome is not None
    return record.status, record.outcome.by, record.outcome.cause


def stored_lines(rig: AiRig, call: CallRecord) -> list[tuple[str, str, int]]:
    """The call's transcript as any other process finds it in the database now."""
    with sqlite3.connect(f"file:{rig.database}?mode=ro", uri=True) as database:
        select = "SELECT speaker, text, truncated FROM transcript_lines WHERE call_id = ? ORDER BY ordinal"
        return database.execute(select, (call.id,)).fetchall()


def lines(record: CallRecord) -> list[tuple[Speaker, str, bool]]:
    assert record.ai is not None
    return [(line.speaker, line.text, line.truncated) for line in record.ai.transcript]


def spoken(conversation: Conversation) -> str:
    """What of the agent's present sentence has been heard."""
    utterance = conversation.agent.speech._current
    return utterance.spoken if utterance is not None else ""


# -- what Ultravox is asked for ----------------------------------------------------------------------------------------

TOOLS: tuple[dict[str, Any], ...] = (
    {
        "modelToolName": "bookTable",
        "description": 'Book a table; "quotes" and ünicode stay.',
        "dynamicParameters": [
            {
                "name": "guests",
                "location": "PARAMETER_LOCATION_BODY",
                "schema": {"type": "integer", "minimum": 1},
                "required": True,
            }
        ],
        "staticParameters": [{"name": "shop", "location": "PARAMETER_LOCATION_QUERY", "value": 7}],
        "http": {"baseUrlPattern": "https://tools.example/book/{table}", "httpMethod": "PUT"},
        "timeout": "8s",
    },
    {"modelToolName": "look_up", "http": {"baseUrlPattern": "https://tools.example/look", "httpMethod": "GET"}},
)


async def test_request_reaches_ultravox_with_tools_intact_and_waits_longer_than_the_phone_may_ring() -> None:
    async with SippUas(ANSWERS) as callee, ai_rig(callee.uri, ring_timeout="45s") as rig:
        call = await rig.place(
            system_prompt="You book tables.",
            model="ultravox-v0.7",
            voice="Mark",
            temperature=0.25,
            first_speaker="user",
            tools=TOOLS,
            max_duration_s=90,
        )
        settings = (await rig.talking(call)).settings
        await rig.hang_up(call)
        await rig.ended(call)
    body = settings.body
    offered = [{"temporaryTool": tool} for tool in (*TOOLS, PRESS_KEYS_TOOL)]
    assert body["selectedTools"] == [*offered, {"toolName": "hangUp"}]
    assert (body["systemPrompt"], body["model"], body["voice"]) == ("You book tables.", "ultravox-v0.7", "Mark")
    assert (body["temperature"], body["firstSpeakerSettings"]) == (0.25, {"user": {}})
    assert settings.max_duration_s == 90
    assert 45 < settings.join_timeout_s < 55  # ten seconds longer than it would still have rung
    assert settings.client_buffer_ms == 30_000


async def test_busy_number_costs_no_ultravox_call() -> None:
    async with SippUas("uas-busy-486") as callee, ai_rig(callee.uri) as rig:
        record = await rig.ended(await rig.place())
        assert how(record) == (Status.FAILED, Party.CALLEE, Cause.BUSY)
        assert rig.ultravox.account.calls == {}
    assert record.ai is not None
    assert (record.ai.status, record.ai.ultravox_call_id) == (AiStatus.ENDED, None)


def was_hung_up(session: SimulatedCall) -> bool:
    return session.end_reason == "hangup"


async def test_session_of_a_phone_that_was_not_answered_is_hung_up_where_it_is_asked_for() -> None:
    knobs = Knobs(max_calls=1)
    async with (
        SippUas("uas-rings-forever") as callee,
        ai_rig(callee.uri, knobs=knobs, hang_up_unjoined=True) as rig,
    ):
        for _ in range(2):  # the account has room for one
            call = await rig.place()
            record = await rig.until(call, lambda it: it.ai is not None and it.ai.ultravox_call_id is not None)
            await rig.hang_up(call)
            ended = await rig.ended(call)
            assert ended.ai is not None and ended.ai.end_reason == "unjoined"
            await rig.ultravox.until(partial(was_hung_up, rig.simulated(record)))


@pytest.mark.parametrize(
    ("status", "cause", "words"),
    [
        (401, Cause.AGENT_REFUSED, "ultravox.api_key"),
        (402, Cause.AGENT_REFUSED, "plan and billing"),
        (500, Cause.AGENT_UNREACHABLE, "HTTP status 500"),
    ],
)
async def test_refusal_by_ultravox_while_ringing_cancels_and_nobody_answers(
    status: int, cause: Cause, words: str
) -> None:
    knobs = Knobs(creates=(CreateReply(status=status),))
    async with SippUas("uas-rings-forever") as callee, ai_rig(callee.uri, knobs=knobs) as rig:
        record = await rig.ended(await rig.place())
        await callee.wait_for("ACK")
        ending = ["> CANCEL", "< 200 CANCEL", "< 487 INVITE", "> ACK"]
        assert callee.dialog(callee.messages[0].call_id)[-4:] == ending
        assert rig.ultravox.account.calls == {}
    assert how(record) == (Status.FAILED, Party.AGENT, cause)
    assert record.answered_at is None
    assert record.outcome is not None
    assert words in record.outcome.detail
    assert API_KEY not in record.outcome.detail


async def test_ultravox_that_does_not_answer_in_time_cancels_the_ringing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "UltravoxApi", partial(UltravoxApi, read_s=0.5))
    knobs = Knobs(creates=(CreateReply(delay_s=3),))
    async with SippUas("uas-rings-forever") as callee, ai_rig(callee.uri, knobs=knobs) as rig:
        record = await rig.ended(await rig.place())
        await callee.wait_for("CANCEL")
    assert how(record) == (Status.FAILED, Party.AGENT, Cause.AGENT_UNREACHABLE)
    assert record.outcome is not None
    assert "did not answer in time" in record.outcome.detail


async def test_ultravox_that_is_not_there_cancels_the_ringing() -> None:
    async with SippUas("uas-rings-forever") as callee, ai_rig(callee.uri, ultravox_url="http://127.0.0.1:9") as rig:
        record = await rig.ended(await rig.place())
        await callee.wait_for("CANCEL")
    assert how(record) == (Status.FAILED, Party.AGENT, Cause.AGENT_UNREACHABLE)


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_ultravox_is_asked_again_when_it_says_so_while_the_phone_rings(status: int) -> None:
    knobs = Knobs(creates=(CreateReply(status=status, retry_after="1"),))
    async with SippUas("uas-183-then-200") as callee, ai_rig(callee.uri, knobs=knobs) as rig:
        call = await rig.place()
        conversation = await rig.talking(call)
        assert conversation.started
        await rig.hang_up(call)
        assert how(await rig.ended(call)) == (Status.COMPLETED, Party.CALLER, Cause.CALLER_HANGUP)


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_ultravox_is_asked_no_more_once_the_phone_is_answered(status: int) -> None:
    knobs = Knobs(creates=(CreateReply(status=status, retry_after="30"),) * 2)
    async with SippUas(ANSWERS) as callee, ai_rig(callee.uri, knobs=knobs) as rig:
        record = await rig.ended(await rig.place())
        await callee.wait_for("BYE")
        assert len(rig.ultravox.account.knobs.creates) == 1
    assert how(record) == (Status.COMPLETED, Party.AGENT, Cause.AGENT_BUSY)
    assert record.outcome is not None
    assert f"HTTP {status}" in record.outcome.detail


async def test_busy_ultravox_is_asked_no_more_once_the_phone_has_rung_its_time() -> None:
    knobs = Knobs(creates=(CreateReply(status=429, retry_after="30"),) * 2)
    async with (
        SippUas("uas-rings-forever") as callee,
        ai_rig(callee.uri, knobs=knobs, ring_timeout="1s") as rig,
    ):
        record = await rig.ended(await rig.place())
        await callee.wait_for("CANCEL")
        assert len(rig.ultravox.account.knobs.creates) == 1
    assert how(record) == (Status.FAILED, Party.CALLEE, Cause.NO_ANSWER)


# -- what is kept of the conversation ----------------------------------------------------------------------------------


async def test_transcript_lines_are_stored_as_they_come_and_an_interrupted_turn_stays_truncated() -> None:
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            speak(conversation, audio.tone(600, 8000, 0.5), "Hello there.")
            await rig.until(call, lambda it: len(lines(it)) == 1)
            assert stored_lines(rig, call) == [("Agent", "Hello there.", 0)]
            # The callee speaks, then barges in on a long sentence.
            tap.play(tone(900))
            await rig.ultravox.until(lambda: conversation.audio.ears.voiced_ms > 300)
            tap.play(b"")
            await rig.until(call, lambda it: len(lines(it)) == 2)
            assert stored_lines(rig, call)[1] == ("User", "Sorry?", 0)
            speak(conversation, audio.tone(600, 8000, 6), "one two three four five six", interruptible=True)
            await rig.ultravox.until(lambda: "two" in spoken(conversation))
            tap.play(tone(900))
            await rig.until(call, lambda it: len(lines(it)) == 3)
            tap.play(b"")
            cut = stored_lines(rig, call)[2]
            await rig.until(call, lambda it: len(lines(it)) == 4)
            conversation.agent.hang_up("Goodbye.")
            record = await rig.ended(call)
            said = [(turn.role.capitalize(), turn.text) for turn in conversation.transcript.turns]
    assert [(speaker.value, text) for speaker, text, _ in lines(record)] == said
    assert cut[0::2] == ("Agent", 1)
    assert "one two" in cut[1]
    assert "six" not in cut[1]
    assert [truncated for _, _, truncated in lines(record)] == [False, False, True, False, False]
    assert lines(record)[-1] == (Speaker.AGENT, "Goodbye.", False)
    assert how(record) == (Status.COMPLETED, Party.AGENT, Cause.AGENT_HANGUP)
    assert record.ai is not None
    assert (record.ai.status, record.ai.end_reason) == (AiStatus.ENDED, "agent_hangup")


async def test_user_who_speaks_first_is_heard_into_the_agents_silence() -> None:
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place(first_speaker="user")
            conversation = await rig.talking(call)
            assert conversation.agent.speech.state == "listening"
            tap.play(tone(900))
            await rig.ultravox.until(lambda: conversation.audio.ears.voiced_ms > 300)
            tap.play(b"")
            first = await rig.until(call, lambda it: len(lines(it)) == 1)
            assert lines(first) == [(Speaker.USER, "Hello?", False)]
            await rig.hang_up(call)
            await rig.ended(call)
        assert all(packet.silent for packet in tap.packets())


# -- how it ends -------------------------------------------------------------------------------------------------------


async def test_cut_websocket_ends_the_call_with_its_own_cause() -> None:
    async with SippUas(ANSWERS) as callee, ai_rig(callee.uri) as rig:
        call = await rig.place()
        conversation = await rig.talking(call)
        speak(conversation, audio.tone(600, 8000, 5))
        conversation.messages.put(Cut())
        record = await rig.ended(call)
        await callee.wait_for("BYE")
        assert callee.complaints == []
    assert how(record) == (Status.COMPLETED, Party.AGENT, Cause.AGENT_LOST)
    assert record.ai is not None
    assert record.ai.end_reason == "connection_error"


async def test_delete_while_the_agent_speaks_keeps_what_was_said() -> None:
    async with SippUas(ANSWERS) as callee, ai_rig(callee.uri) as rig:
        call = await rig.place()
        conversation = await rig.talking(call)
        speak(conversation, audio.tone(600, 8000, 6), "one two three four five six")
        await rig.ultravox.until(lambda: "two" in spoken(conversation))
        await rig.hang_up(call)
        record = await rig.ended(call)
        await callee.wait_for("BYE")
        assert callee.complaints == []
    assert how(record) == (Status.COMPLETED, Party.CALLER, Cause.CALLER_HANGUP)
    ((speaker, text, truncated),) = lines(record)
    assert (speaker, truncated) == (Speaker.AGENT, True)
    assert "two" in text
    assert record.ai is not None
    assert record.ai.end_reason == "hangup"


async def test_callee_who_hangs_up_while_the_agent_speaks_ends_the_agents_session() -> None:
    async with SippUas("uas-answers-then-byes", hold_ms=1500) as callee, ai_rig(callee.uri) as rig:
        call = await rig.place()
        conversation = await rig.talking(call)
        speak(conversation, audio.tone(600, 8000, 30), "one two three four five six")
        record = await rig.ended(call)
        assert callee.complaints == []
        await rig.ultravox.until(lambda: conversation.end_reason is not None)
        assert conversation.end_reason == "hangup"
    assert how(record) == (Status.COMPLETED, Party.CALLEE, Cause.CALLEE_HANGUP)
    assert [truncated for _, _, truncated in lines(record)] == [True]


async def test_call_ends_at_its_maximum_duration() -> None:
    async with SippUas(ANSWERS) as callee, ai_rig(callee.uri) as rig:
        call = await rig.place(max_duration_s=2)
        conversation = await rig.talking(call)
        speak(conversation, audio.tone(600, 8000, 30))
        record = await rig.ended(call)
        await callee.wait_for("BYE")
    assert how(record) == (Status.COMPLETED, Party.CALLER, Cause.MAX_DURATION)
    assert record.outcome is not None
    assert "2 s" in record.outcome.detail


# -- what must not be told ---------------------------------------------------------------------------------------------


async def test_no_secret_no_number_and_nothing_that_was_said_is_in_any_log_at_debug(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    engine_log = logging.getLogger("trunkline")
    before = engine_log.handlers[:], engine_log.level, engine_log.propagate
    set_up_logging(LogSettings(level="DEBUG"), sys.stderr)
    try:
        async with (
            SippUas("uas-challenges-407") as callee,
            ai_rig(callee.uri, log=LogSettings(level="DEBUG")) as rig,
        ):
            call = await rig.place(
                system_prompt="The prompt is private.", tools=TOOLS, metadata={"order": "metadata-is-private"}
            )
            conversation = await rig.talking(call)
            conversation.agent.invoke_tool("lookUp", {"a": "payload"})
            speak(conversation, audio.tone(600, 8000, 0.3), "My number is secret.")
            await rig.until(call, lambda it: len(lines(it)) == 1)
            invocation_id = conversation.agent.invoke_tool("pressKeys", {"digits": "*86420"})
            await rig.ultravox.until(lambda: invocation_id in conversation.agent.tools.results)
            conversation.messages.put(Cut())
            record = await rig.ended(call)
            join_url = rig.simulated(record).join_url
            assert callee.requests("INVITE")[-1].header("Proxy-Authorization")
    finally:
        engine_log.handlers[:], engine_log.level, engine_log.propagate = before
    # The far end of the WebSocket is not ours: it logs the requests it is sent.
    ours = [line for line in caplog.records if line.name not in ("websockets.server", "uvicorn.error")]
    told = "\n".join([*capfd.readouterr(), *(line.getMessage() for line in ours), repr(record), repr(rig.config)])
    secrets = {
        "API key": API_KEY,
        "join URL": join_url,
        "trunk password": PASSWORD,
        "words": "number is secret",
        "prompt": "prompt is private",
        "metadata": "metadata-is-private",
        "tool": "tools.example",
        "tool payload": "payload",
        "keys": "*86420",
    }
    logged = told.replace(repr(record), "")
    assert record.id in logged
    assert [name for name, secret in secrets.items() if secret in logged] == []
    assert [name for name in ("API key", "join URL", "trunk password") if secrets[name] in told] == []
    assert [number for number in (FROM, TO) if number in logged or number.removeprefix("+") in logged] == []
