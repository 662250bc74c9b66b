from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.speech import tones
from engine.sandbox.ultravox.conversation import Conversation
from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import CallKnobs, Mischief
from engine.sandbox.ultravox.requests import read_call
from engine.sandbox.ultravox.server_messages import Close, Cut, Outgoing, Ping

RATE_HZ = 8000
FRAME = RATE_HZ // 50 * 2
GREETING = "Good morning to you from all of us."
DIALOGUE = Dialogue(agent=(GREETING, "Fine.", "Goodbye then."), callee=("Yes, please.", "No, thank you."))
SPEECH = tones("I say something", RATE_HZ, "callee")
HANG_UP = {"toolName": "hangUp"}


class Client:
    """A client with its own clock: sends a frame every 20 ms and keeps what comes back, with the time."""

    def __init__(self, knobs: CallKnobs | None = None, *, socket: dict[str, Any] | None = None, **fields: Any) -> None:
        medium = {"serverWebSocket": {"inputSampleRate": RATE_HZ, "clientBufferSizeMs": 30000, **(socket or {})}}
        fields.setdefault("selectedTools", [HANG_UP])
        self.faults = ClientFaults()
        self.now = 0.0
        self.received: list[tuple[float, Outgoing]] = []
        self.call = Conversation(
            "call-1",
            read_call({"medium": medium, **fields}, strict=True),
            DIALOGUE,
            knobs or CallKnobs(),
            lambda text: tones(text, RATE_HZ, "agent"),
            self.faults,
            now=0.0,
        )

    def run(self, seconds: float, audio: bytes = b"") -> None:
        """Let time pass; ``audio`` is sent first, silence after it."""
        for tick in range(round(seconds * 50)):
            frame = audio[tick * FRAME : (tick + 1) * FRAME]
            self.call.poll(self.now)
            self.call.receive_audio(frame + bytes(FRAME - len(frame)), self.now)
            self.received += [(self.now, outgoing) for outgoing in self.call.messages.take()]
            self.now += 0.02

    def run_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(1500):
            if condition():
                return
            self.run(0.02)
        raise AssertionError("30 seconds went by")

    def send(self, message_type: str, **fields: Any) -> None:
        self.call.receive_text(json.dumps({"type": message_type, **fields}), self.now)

    def messages(self, message_type: str) -> list[dict[str, Any]]:
        decoded = [json.loads(it) for _, it in self.received if isinstance(it, str)]
        return [message for message in decoded if message["type"] == message_type]

    @property
    def states(self) -> list[str]:
        return [message["state"] for message in self.messages("state")]

    @property
    def finals(self) -> list[tuple[str, str]]:
        return [(it["role"], it["text"]) for it in self.messages("transcript") if it["final"]]

    @property
    def audio(self) -> bytes:
        return b"".join(it for _, it in self.received if isinstance(it, bytes))

    @property
    def close_code(self) -> int | None:
        return next((it.code for _, it in self.received if isinstance(it, Close)), None)


def test_agent_greets_and_then_listens() -> None:
    client = Client()
    client.run(4)
    assert [json.loads(it)["type"] for _, it in client.received[:2] if isinstance(it, str)] == ["call_started", "state"]
    assert client.states == ["thinking", "speaking", "listening"]
    assert client.audio == tones(GREETING, RATE_HZ, "agent")
    assert client.finals == [("agent", GREETING)]


def test_first_word_is_text_the_others_are_deltas_and_the_final_is_whole() -> None:
    client = Client()
    client.run(4)
    first, *deltas, final = client.messages("transcript")
    assert first == {
        "type": "transcript", "role": "agent", "medium": "voice", "ordinal": 0, "final": False, "text": "Good"
    }  # fmt: skip
    assert [it["delta"] for it in deltas] == [" morning", " to", " you", " from", " all", " of", " us."]
    assert "text" not in deltas[0]
    assert (final["final"], final["text"]) == (True, GREETING)


def test_words_are_timed_to_the_audio_and_not_to_its_sending() -> None:
    client = Client()
    client.run(4)
    sent = [at for at, it in client.received if isinstance(it, bytes)]
    transcripts = [at for at, it in client.received if isinstance(it, str) and '"transcript"' in it]
    assert sent[-1] == sent[0] == transcripts[0]
    assert transcripts[-1] - transcripts[0] == pytest.approx(len(client.audio) / 16000, abs=0.03)


def test_small_client_buffer_is_never_led_by_more() -> None:
    client = Client(socket={"clientBufferSizeMs": 60})
    client.run(4)
    sent = [at for at, it in client.received if isinstance(it, bytes)]
    assert all(index * 0.02 - (at - sent[0]) <= 0.0601 for index, at in enumerate(sent))


def test_whole_dialogue_ends_with_the_agent_hanging_up() -> None:
    client = Client()
    for _ in DIALOGUE.callee:
        client.run_until(lambda: client.call.agent.speech.state == "listening")
        client.run(2, SPEECH)
        client.run_until(lambda: client.call.agent.speech.state == "listening" or client.call.end_reason is not None)
    client.run(1)
    assert [text for _, text in client.finals] == [
        GREETING, "Yes, please.", "Fine.", "No, thank you.", "Goodbye then."
    ]  # fmt: skip
    assert (client.close_code, client.call.end_reason) == (1000, "agent_hangup")
    assert client.faults.counts == {}


def test_socket_is_closed_while_the_client_still_holds_the_farewell() -> None:
    client = Client()
    client.run(1)
    client.call.agent.clear()
    client.call.agent.hang_up("Good night and sleep well.")
    client.run(0.5)
    assert client.close_code == 1000
    assert client.finals[-1] == ("agent", "Good night and sleep well.")


def test_farewell_knob_holds_the_close_until_it_was_heard() -> None:
    client = Client(CallKnobs(farewell="played"))
    client.run(1)
    client.call.agent.clear()
    client.call.agent.hang_up("Good night and sleep well.")
    client.run(1)
    assert client.close_code is None
    client.run(2)
    assert client.close_code == 1000


def test_agent_without_a_hang_up_tool_stays_on_the_line() -> None:
    client = Client(selectedTools=[])
    client.run(4)
    client.run(3, SPEECH)
    client.run(60, SPEECH)
    assert client.finals[-1] == ("agent", "Goodbye then.")
    assert client.close_code is None


def test_client_tool_named_hang_up_is_invoked_after_the_last_words() -> None:
    tool = {"temporaryTool": {"modelToolName": "hangUp", "client": {}}}
    client = Client(selectedTools=[tool])
    client.run(4)
    client.run(3, SPEECH)
    client.run(6, SPEECH)
    (invocation,) = client.messages("client_tool_invocation")
    client.send("client_tool_result", invocationId=invocation["invocationId"], result="{}", responseType="hang-up")
    assert client.call.end_reason == "agent_hangup"


def test_barge_in_clears_first_and_cuts_the_transcript() -> None:
    client = Client()
    client.run(1)
    client.run(1, SPEECH)
    types = [json.loads(it)["type"] for _, it in client.received if isinstance(it, str)]
    clear = types.index("playback_clear_buffer")
    assert types[clear : clear + 3] == ["playback_clear_buffer", "transcript", "state"]
    assert client.finals[0] == ("agent", "Good morning to")
    assert client.states[:3] == ["thinking", "speaking", "listening"]


def test_interrupting_words_are_answered() -> None:
    client = Client()
    client.run(1)
    client.run(4, SPEECH)
    assert [text for _, text in client.finals] == ["Good morning to", "Yes, please.", "Fine."]


def test_transcript_may_come_before_the_clear() -> None:
    client = Client(CallKnobs(transcript_before_clear=True))
    client.run(1)
    client.run(1, SPEECH)
    types = [json.loads(it)["type"] for _, it in client.received if isinstance(it, str)]
    assert types[types.index("playback_clear_buffer") - 1] == "transcript"


def test_speech_below_the_minimum_does_not_interrupt() -> None:
    client = Client(vadSettings={"minimumInterruptionDuration": "0.48s"})
    client.run(1)
    client.run(3, SPEECH[: FRAME * 10])
    assert not client.messages("playback_clear_buffer")
    assert client.finals == [("agent", GREETING)]


def test_uninterruptible_greeting_is_not_cut() -> None:
    client = Client(firstSpeakerSettings={"agent": {"uninterruptible": True, "text": "Calls are recorded here."}})
    client.run(1)
    client.run(4, SPEECH)
    assert not client.messages("playback_clear_buffer")
    assert client.finals[0] == ("agent", "Calls are recorded here.")


def test_user_who_speaks_first_is_greeted() -> None:
    client = Client(firstSpeakerSettings={"user": {}})
    client.run(20)
    assert client.audio == b""
    client.run(4, SPEECH)
    assert [text for _, text in client.finals] == ["Hello?", GREETING]


def test_silent_user_hears_the_fallback_after_its_delay() -> None:
    client = Client(firstSpeakerSettings={"user": {"fallback": {"delay": "3s", "text": "Is somebody there?"}}})
    client.run(2.9)
    assert client.audio == b""
    client.run(4)
    assert client.finals == [("agent", "Is somebody there?")]


def test_fallback_is_dropped_when_the_user_speaks() -> None:
    client = Client(firstSpeakerSettings={"user": {"fallback": {"delay": "2s", "text": "Is somebody there?"}}})
    client.run(1)
    client.run(6, SPEECH)
    assert [text for _, text in client.finals] == ["Hello?", GREETING]


def test_click_on_the_line_is_no_turn() -> None:
    client = Client()
    client.run(4)
    client.run(3, SPEECH[:FRAME])
    assert client.finals == [("agent", GREETING)]


def test_maximum_duration_is_announced_and_ends_in_timeout() -> None:
    client = Client(maxDuration="2s", timeExceededMessage="Time is up.")
    client.run(4)
    assert client.finals[-1] == ("agent", "Time is up.")
    assert (client.close_code, client.call.end_reason) == (1000, "timeout")


@pytest.mark.parametrize("polled_first", [True, False])
def test_time_in_which_the_simulator_was_held_up_is_no_gap_of_the_clients(polled_first: bool) -> None:
    client = Client()
    client.run(1)
    client.now += 0.5
    if polled_first:
        client.call.poll(client.now)
        client.now += 0.01
    client.call.receive_audio(bytes(FRAME), client.now)
    client.run(0.1)
    assert client.faults.render() == []


def test_time_in_which_the_client_sent_nothing_is_a_gap() -> None:
    client = Client()
    client.run(1)
    for _ in range(25):
        client.now += 0.02
        client.call.poll(client.now)
    client.run(0.1)
    assert [fault["kind"] for fault in client.faults.render()] == ["audio-gap"]


def test_idle_media_end_the_call_with_connection_error() -> None:
    client = Client(socket={"mediaIdleTimeout": "10s"})
    client.run(1)
    client.call.poll(client.now + 9.9)
    assert Close(code=1008) not in client.call.messages.take()
    client.call.poll(client.now + 10.1)
    assert client.call.end_reason == "connection_error"
    assert client.call.messages.take()[-1] == Close(code=1008)


@pytest.mark.parametrize(("behaviour", "ends"), [("UNSPECIFIED", False), ("HANG_UP_SOFT", True)])
def test_silence_brings_the_inactivity_message(behaviour: str, ends: bool) -> None:
    message = {"duration": "5s", "message": "Still there?", "endBehavior": f"END_BEHAVIOR_{behaviour}"}
    client = Client(inactivityMessages=[message])
    client.run(10)
    assert client.finals[-1] == ("agent", "Still there?")
    assert (client.call.end_reason == "agent_hangup") is ends


def test_client_close_is_a_hangup_and_loss_a_connection_error() -> None:
    for code, reason in ((1000, "hangup"), (1006, "hangup"), (None, "connection_error")):
        client = Client()
        client.run(1)
        client.call.closed(code, client.now)
        assert client.call.end_reason == reason


def test_ping_is_answered_with_its_timestamp() -> None:
    client = Client()
    client.run(0.1)
    client.send("ping", timestamp=1767000000.25)
    client.run(0.02)
    assert client.messages("pong") == [{"type": "pong", "timestamp": 1767000000.25}]


def test_text_before_call_started_is_a_fault() -> None:
    client = Client(CallKnobs(call_started_delay_s=1.0))
    client.run(0.5)
    assert not client.received
    client.send("ping", timestamp=1)
    assert client.faults.counts == {"text-before-call-started": 1}


def test_immediate_user_text_interrupts_and_is_answered() -> None:
    client = Client()
    client.run(1)
    client.send("user_text_message", text="5", urgency="immediate")
    client.run(3)
    assert len(client.messages("playback_clear_buffer")) == 1
    assert client.finals[1:] == [("user", "5"), ("agent", "Fine.")]


def test_later_user_text_is_context_only() -> None:
    client = Client()
    client.run(4)
    client.send("user_text_message", text="for your files", urgency="later")
    client.run(4)
    assert client.finals[-1] == ("user", "for your files")


def test_forced_message_is_said_word_for_word() -> None:
    client = Client()
    client.run(4)
    client.send("forced_agent_message", content="One moment please.", uninterruptible=True)
    client.run(4)
    assert client.finals[-1] == ("agent", "One moment please.")


def test_hang_up_message_is_spoken_before_the_end() -> None:
    client = Client()
    client.run(4)
    client.send("hang_up", message="Thank you, goodbye.")
    client.run(4)
    assert client.finals[-1] == ("agent", "Thank you, goodbye.")
    assert client.call.end_reason == "agent_hangup"


def test_nothing_is_said_while_a_tool_runs() -> None:
    client = Client()
    client.run(4)
    invocation_id = client.call.agent.invoke_tool("lookUp", {})
    client.run(1.5, SPEECH[: FRAME * 20])
    assert client.finals[-1] == ("user", "Yes, please.")
    client.send("client_tool_result", invocationId=invocation_id, result="{}", agentReaction="listens")
    client.run(3)
    assert client.finals[-1] == ("agent", "Fine.")


def test_tool_faults_are_told_apart() -> None:
    client = Client()
    client.run(4)
    answered, forgotten = (client.call.agent.invoke_tool(name, {}) for name in ("a", "b"))
    for _ in range(2):
        client.send("client_tool_result", invocationId=answered, result="", agentReaction="listens")
    client.send("client_tool_result", invocationId="nonsense", result="")
    client.call.closed(1000, client.now)
    assert client.faults.counts == {"answered-twice": 1, "unknown-invocation": 1, "tool-never-answered": 1}
    assert forgotten not in client.call.agent.tools.results


def test_switched_off_messages_are_not_sent() -> None:
    client = Client(socket={"dataMessages": {"transcript": False, "state": False, "userStoppedSpeaking": True}})
    client.run(4)
    client.run(2, SPEECH)
    assert not client.messages("transcript")
    assert not client.messages("state")
    assert len(client.messages("user_stopped_speaking")) == 1
    assert not client.messages("user_started_speaking")


def test_echo_sends_the_audio_back() -> None:
    client = Client(CallKnobs(echo=True))
    client.run(0.1)
    heard = len(client.audio)
    client.run(2, SPEECH)
    assert client.audio[heard:].startswith(SPEECH)


def test_quirks_of_the_transcript() -> None:
    client = Client(CallKnobs(deltas="null-text", blank_ordinals=True))
    client.run(4)
    blank, first, delta, *_ = client.messages("transcript")
    assert (blank["ordinal"], blank["text"], blank["final"]) == (0, " ", True)
    assert (first["ordinal"], first["text"]) == (1, "Good")
    assert (delta["text"], delta["delta"]) == (None, " morning")


def test_mischief_is_done_at_its_time() -> None:
    deeds = [
        Mischief(after_s=0.5, do="text", text="{garbage"),
        Mischief(after_s=0.1, do="empty"),
        Mischief(after_s=0.6, do="byte"),
        Mischief(after_s=0.7, do="burst", ms=5000),
        Mischief(after_s=0.8, do="ping"),
        Mischief(after_s=0.9, do="clear"),
        Mischief(after_s=1.0, do="cut"),
        Mischief(after_s=1.1, do="close", code=4598),
    ]
    client = Client(CallKnobs(quiet=True, mischief=tuple(deeds)))
    client.run(2)
    assert [(round(at, 1), it) for at, it in client.received[2:5]] == [(0.1, b""), (0.5, "{garbage"), (0.6, b"\0")]
    assert len(client.audio) == 1 + 5 * RATE_HZ * 2
    assert [it for _, it in client.received if isinstance(it, Ping | Cut)] == [Ping(), Cut()]
    assert client.close_code == 4598
    assert client.call.end_reason == "system_error"


def test_odd_sized_messages_add_up_to_whole_samples() -> None:
    client = Client(CallKnobs(quiet=True, mischief=(Mischief(after_s=0.1, do="odd", ms=500),)))
    client.run(0.5)
    sizes = {len(it) for _, it in client.received if isinstance(it, bytes)}
    assert any(size % 2 for size in sizes)
    assert len(client.audio) == RATE_HZ
