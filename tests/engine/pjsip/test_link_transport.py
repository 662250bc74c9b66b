"""Messages that cannot pass the link. Whole calls over it: ``tests/sip/test_link.py``. Each in its own process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.sip

_START = """
import os
from engine.messages.commands import TrunkAccount
from engine.messages.settings import StackSettings
from engine.pjsip.stack import SipStack
from engine.pjsip.structures import packet_limit
from tests.sip.linked_stack import Call

sent = []
def send(message):
    sent.append(message)
stack = SipStack(StackSettings(bind="127.0.0.1"), link=lambda message: send(message))

def request(length):
    head = (
        "OPTIONS sip:us@127.0.0.1 SIP/2.0\\r\\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKone\\r\\n"
        "From: <sip:far@example>;tag=1\\r\\nTo: <sip:us@example>\\r\\nCall-ID: one\\r\\nCSeq: 1 OPTIONS\\r\\nSubject: "
    )
    tail = "\\r\\nContent-Length: 0\\r\\n\\r\\n"
    return (head + "x" * (length - len(head) - len(tail)) + tail).encode()

{act}
os._exit(0)
"""


def run(act: str) -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", _START.format(act=act)], check=True, capture_output=True, timeout=60, text=True
    )
    return done.stdout.splitlines(), done.stderr


def test_a_message_as_long_as_the_build_takes_is_answered_and_a_longer_one_is_dropped_with_a_log_line() -> None:
    said, logged = run("""
stack.receive(request(packet_limit() - 1))
print([message[:11] for message in sent])
stack.receive(request(packet_limit()))
stack.receive(b"")
print(len(sent))
""")
    assert said == ["[b'SIP/2.0 200']", "1"]
    assert "dropping a SIP message of 4000 bytes: PJSIP takes 3999 at most" in logged


def test_a_call_that_the_link_does_not_carry_fails_and_the_process_lives_on() -> None:
    said, logged = run("""
def send(message):
    raise BrokenPipeError(32, "Broken pipe")
call = Call(700)
from tests.engine import samples
trunk = samples.trunk(name="tests").account
try:
    leg = stack.dial(trunk, call, from_number="+15557654321", to_number="+15551234567", sip_call_id="one")
except Exception as error:
    print(type(error).__name__)
for _ in range(20):
    stack.poll()
print(call.end and call.end.sip_code)
""")
    assert "cannot send a SIP message to the edge" in logged
    assert said == ["503"] or said[0] == "SipError"


def test_noise_from_the_link_is_survived() -> None:
    said, _ = run("""
for noise in (b"\\0", b"\\r\\n\\r\\n", b"x" * 3999, bytes(range(256)) * 8, b"INVITE sip:a SIP/2.0\\r\\n\\r\\n"):
    stack.receive(noise)
stack.receive(request(500))
print(len(sent))
""")
    assert said == ["1"]
