"""Every message of either side survives its way, with its types; texts that are no Unicode become readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.log import LogSettings
from engine.messages.codec import FROM_FORK_SERVER, TO_CHILD, TO_CONTROL, TO_FORK_SERVER, Codec, NotAMessage
from engine.messages.commands import Dial, HangUp, JoinAgent, Register, Stop
from engine.messages.edge import EdgeFailed, EdgeReady, EdgeSettings
from engine.messages.events import (
    AgentJoined,
    AgentLeft,
    AgentSpoke,
    Alive,
    Answered,
    AttemptEnded,
    DigitsPressed,
    Heartbeat,
    InviteSent,
    LineFree,
    Probed,
    Progress,
    Ready,
    Registration,
    Transcribed,
)
from engine.messages.forks import Exited, Spawn, Spawned
from engine.messages.settings import (
    CarrierReady,
    CarrierSettings,
    RegistrarSettings,
    SimulatorReady,
    SimulatorSettings,
    StackSettings,
    WorkerSettings,
)
from engine.outcome import CANCELED
from engine.records import AttemptId, Speaker, TranscriptTurn
from tests.engine.samples import trunk

ID = AttemptId("a/2")
ACCOUNT = trunk().account
LOG = LogSettings()
STACK = StackSettings(bind="127.0.0.1", edge="/run/edge")

FROM_CHILD: list[Any] = [
    Ready(lines=16, real_time=True),
    InviteSent(attempt_id=ID, at_s=1.5),
    Progress(attempt_id=ID, code=180, reason="Ringing"),
    Answered(attempt_id=ID, codec="PCMU", codec_rate_hz=8000),
    AgentJoined(attempt_id=ID),
    AgentSpoke(attempt_id=ID, after_answer_ms=20.5),
    Transcribed(attempt_id=ID, turn=TranscriptTurn(ordinal=0, speaker=Speaker.AGENT, text="Grüße")),
    DigitsPressed(attempt_id=ID, count=2, by_callee=True),
    AgentLeft(attempt_id=ID),
    AttemptEnded(attempt_id=ID, outcome=CANCELED, media={"rtp_sent": 3, "late_ms": 0.5, "none": None}),
    LineFree(attempt_id=ID),
    Heartbeat(calls=frozenset({ID}), dials=1, late_p99_ms=0.5, late_max_ms=1.0),
    Alive(),
    Registration(trunk="main", registered=True, code=200, reason="OK", expires_s=300),
    Probed(trunk="main", code=200, reason="OK"),
    EdgeReady(port=5060),
    EdgeFailed(why="taken"),
    CarrierReady(),
    SimulatorReady(base_url="http://127.0.0.1:1"),
]
FROM_CONTROL: list[Any] = [
    Dial(attempt_id=ID, sip_call_id="c", trunk=ACCOUNT, from_number="+1", to_number="+2", with_agent=True),
    JoinAgent(attempt_id=ID, join_url="wss://x", sample_rate_hz=8000),
    HangUp(attempt_id=ID, outcome=CANCELED),
    Register(trunks=(ACCOUNT, ACCOUNT)),
    Stop(),
    EdgeSettings(link="/run/edge", bind="::", port=5060, trunks=(ACCOUNT,), log=LOG, allow_from=("192.0.2.0/24",)),
    WorkerSettings(stack=STACK, log=LOG, lines=4, real_time=True, phase_s=0.001, rtp_timeout_s=30.0),
    RegistrarSettings(stack=STACK, log=LOG),
    CarrierSettings(
        link="/run/carrier",
        log=LOG,
        account=ACCOUNT,
        hello={8000: b"\0"},
        sayings={8000: (b"a", b"b")},
        recordings=Path("/x"),
    ),
    CarrierSettings(link="/run/carrier", log=LOG, account=ACCOUNT, hello={}, sayings={}, recordings=None),
    SimulatorSettings(log=LOG, api_key="k"),
]
SENT = [
    *((TO_CONTROL, message) for message in FROM_CHILD),
    *((TO_CHILD, message) for message in FROM_CONTROL),
    (TO_FORK_SERVER, Spawn(token=1, module="m", title="t")),
    (FROM_FORK_SERVER, Spawned(token=1, pid=2)),
    (FROM_FORK_SERVER, Exited(pid=2, status=-9)),
]


@pytest.mark.parametrize(("codec", "message"), SENT, ids=lambda each: type(each).__name__)
def test_message_survives_its_way(codec: Codec, message: Any) -> None:
    assert codec.decode(codec.encode(message)) == message


def test_every_kind_of_message_is_tried() -> None:
    for codec in (TO_CONTROL, TO_CHILD, TO_FORK_SERVER, FROM_FORK_SERVER):
        tried = {type(message).__name__ for one, message in SENT if one is codec}
        assert tried == codec._decoders.keys()


@pytest.mark.parametrize(("codec", "message"), SENT, ids=lambda each: type(each).__name__)
def test_message_cut_anywhere_is_none(codec: Codec, message: Any) -> None:
    data = codec.encode(message)
    for size in range(min(len(data), 300)):
        with pytest.raises(NotAMessage):
            codec.decode(data[:size])


def test_text_with_bytes_that_are_no_utf8_arrives_readable() -> None:
    """PJSIP hands out what a far end wrote in Latin-1."""
    message = Progress(attempt_id=ID, code=180, reason=b"Besetzt \xfc".decode("utf-8", "surrogateescape"))
    assert TO_CONTROL.decode(TO_CONTROL.encode(message)).reason == "Besetzt ?"


def test_what_the_other_side_would_not_take_is_not_sent() -> None:
    with pytest.raises(TypeError, match="Stop is no message"):
        TO_CONTROL.encode(Stop())
