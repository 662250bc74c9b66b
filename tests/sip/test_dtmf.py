"""Telephone keys end to end: the callee's reach the agent once a burst, the agent's leave as RTP events or INFO."""

from __future__ import annotations

import pytest

from tests import audio
from tests.sip.ai_rig import ai_rig, speak
from tests.sip.peers import SippUas
from tests.sip.rtp import DIGITS, RtpTap

pytestmark = pytest.mark.sip

ANSWERS = "uas-answers-and-echoes-rtp"


async def test_experiment() -> None:
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            told: list[str] = []
            conversation.on_text = lambda text, _: told.append(text)
            tap.press("1", timestamp=8000)
            tap.press("1", timestamp=16000, lose={5, 6, 7})
            tap.press("1", timestamp=24000, marker=False, lose={0, 1})
            tap.press("#", timestamp=32000)
            await rig.ultravox.until(lambda: bool(told), 3)
            print(told)
            tap.forget()
            speak(conversation, audio.tone(600, 8000, 1.0), "Hello there.")
            invocation = conversation.invoke_tool("pressKeys", {"digits": "1w#"})
            await rig.ultravox.until(lambda: invocation in conversation.tools.results)
            print(conversation.tools.results)
            speak(conversation, audio.tone(600, 8000, 0.3), "Hello there.")
            import asyncio
            await asyncio.sleep(0.5)
            for p in tap.packets():
                print(p.payload_type, p.marker, p.sequence, p.timestamp, p.silent, p.event if p.payload_type == 101 else "")
            await rig.hang_up(call)
            print((await rig.ended(call)).media)
            print(callee.requests("INVITE")[0].body if hasattr(callee.requests("INVITE")[0],'body') else callee.requests("INVITE")[0])
            print(callee.requests("INVITE")[0])
    raise AssertionError
