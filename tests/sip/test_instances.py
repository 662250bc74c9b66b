"""Several PJSIPs in one worker: more calls than one holds, and each is a separate call."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from engine.records import Environment
from tests import audio
from tests.sip.ai_rig import ai_rig, speak
from tests.sip.peers import SippUas
from tests.sip.process import wait_until
from tests.sip.test_ai_audio import CLEAR_DB, clarity_db, steady

pytestmark = pytest.mark.sip

CALLS = 20
"""Four workers of eight lines are warm by then: one at least holds more than four."""


async def test_calls_of_one_worker_beyond_what_one_pjsip_holds_hear_their_own_far_end_alone() -> None:
    callee = SippUas("uas-answers-and-echoes-rtp", rtp_echo=True)
    async with callee, ai_rig(callee.uri, max_calls=50) as rig:
        calls = [await rig.place() for _ in range(CALLS)]
        conversations = [await rig.talking(call) for call in calls]
        pool = rig.engine._backends[Environment.LIVE].pool
        await wait_until(lambda: any(len(beat.calls) > 4 for beat in pool.heartbeats.values()), "a worker of many")
        tones_hz = [407 + 110 * place for place in range(CALLS)]
        for conversation, tone_hz in zip(conversations, tones_hz, strict=True):
            speak(conversation, audio.tone(tone_hz, 8_000, 1.5))
        await rig.ultravox.until(lambda: all(it.agent.speech.idle for it in conversations))
        await asyncio.sleep(0.5)
        for conversation, tone_hz in zip(conversations, tones_hz, strict=True):
            assert clarity_db(steady(bytes(conversation.audio.captured), 8_000), 8_000, tone_hz) > CLEAR_DB
        for call in calls:
            await rig.hang_up(call)
        records = [await rig.ended(call) for call in calls]
    assert all(record.media and record.media["rtp_lost"] == 0 for record in records)


_LOAD = """
import os
from engine.messages.settings import StackSettings
from engine.pjsip import instances
from tests.engine.samples import trunk
from tests.sip.linked_stack import Call

instances.load(12)
sent = []
stacks = instances.start(
    StackSettings(bind="127.0.0.1", rtp_first=20000, rtp_last=20099), {lines}, lambda *sending: sent.append(sending)
)
trunk = trunk(name="tests", uri="sip:192.0.2.1").account
for stack in stacks:
    settings, free_lines = stack._settings, stack.free_lines
    stack.dial(trunk, Call(700), from_number="+15557654321", to_number="+15551234567", sip_call_id="one")
    [(place, message)] = sent
    assert message.startswith(b"INVITE ")
    sent.clear()
    print(place, free_lines, settings.rtp_first, settings.rtp_last, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        pytest.param(4, ["0 4 20000 20099"], id="one holds them"),
        pytest.param(10, ["0 4 20000 20031", "1 4 20032 20063", "2 2 20064 20095"], id="three do, and hold no more"),
    ],
)
def test_as_many_start_as_the_lines_need_each_with_its_own_place_and_ports(lines: int, told: list[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-c", _LOAD.format(lines=lines)], check=True, capture_output=True, timeout=30, text=True
    )
    assert said.stdout.splitlines() == told


_FORBIDDEN = """
import os
from engine.pjsip import instances

def forbidden(name):
    raise PermissionError(1, "Operation not permitted")

os.memfd_create = forbidden
instances.load(16)
"""


def test_where_no_copy_can_be_loaded_the_error_names_the_setting() -> None:
    said = subprocess.run([sys.executable, "-c", _FORBIDDEN], check=False, capture_output=True, timeout=30, text=True)
    assert "cannot be loaded: [Errno 1] Operation not permitted. Set sip.lines_per_worker to 4." in said.stderr
