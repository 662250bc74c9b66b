from __future__ import annotations

from engine.sandbox.ultravox.agent_speech import AgentSpeech
from engine.sandbox.ultravox.knobs import CallKnobs
from engine.sandbox.ultravox.server_messages import ServerMessages
from engine.sandbox.ultravox.transcript import Transcript
from engine.sandbox.ultravox.utterance import Utterance


class Fixture:
    def __init__(self) -> None:
        self.messages = ServerMessages(frozenset(["state", "playbackClearBuffer"]))
        knobs = CallKnobs()
        self.speech = AgentSpeech(self.messages, Transcript(self.messages, knobs, 0.0), knobs, 30_000)

    def say(self, text: str, not_before: float = 0.0) -> Utterance:
        utterance = Utterance(text, bytes(16_000), 8000)
        self.speech.say(utterance, not_before)
        return utterance


def test_utterances_follow_one_another() -> None:
    it = Fixture()
    first, second = it.say("one"), it.say("two")
    assert [it.speech.poll(at) for at in (0.0, 0.5, 1.0, 1.1, 2.2)] == [None, None, first, None, second]
    assert it.speech.idle


def test_nothing_is_said_before_its_time() -> None:
    it = Fixture()
    it.say("one", not_before=5.0)
    it.speech.poll(4.9)
    assert not it.speech.speaking
    it.speech.poll(5.0)
    assert it.speech.speaking


def test_interruption_drops_what_was_to_follow() -> None:
    it = Fixture()
    it.say("one")
    it.say("two")
    it.speech.poll(0.0)
    it.messages.take()
    it.speech.interrupt(0.3)
    assert it.messages.take() == ['{"type": "playback_clear_buffer"}', '{"type": "state", "state": "listening"}']
    assert it.speech.idle
    assert it.speech.clears == 1


def test_state_is_sent_when_it_changes() -> None:
    it = Fixture()
    it.speech.enter("thinking")
    it.speech.enter("thinking")
    it.speech.enter("listening")
    assert len(it.messages.take()) == 2
