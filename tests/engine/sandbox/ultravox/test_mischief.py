"""Each deed is something; what it does is tested in ``test_conversation.py``."""

from __future__ import annotations

from typing import get_args

import pytest

from engine.sandbox.dialogue import APPOINTMENT
from engine.sandbox.speech import tones
from engine.sandbox.ultravox.conversation import Conversation
from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import CallKnobs, Deed, Mischief
from engine.sandbox.ultravox.mischief import perform
from engine.sandbox.ultravox.requests import CallSettings


@pytest.mark.parametrize("deed", get_args(Deed))
def test_every_deed_sends_something(deed: Deed) -> None:
    conversation = Conversation(
        "call-1",
        CallSettings(input_hz=8000, output_hz=8000),
        APPOINTMENT,
        CallKnobs(quiet=True),
        lambda text: tones(text, 8000, "agent"),
        ClientFaults(),
        now=0.0,
    )
    conversation.poll(0.0)
    conversation.messages.take()
    perform(Mischief(after_s=0.0, do=deed, text="words"), conversation.agent)
    conversation.poll(0.1)
    assert conversation.messages.take()
