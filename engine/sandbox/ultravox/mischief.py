"""Misbehaviour on demand: performs the deeds that the knobs ask for."""

from __future__ import annotations

from typing import assert_never

from engine.sandbox.speech import tone
from engine.sandbox.ultravox.agent import Agent
from engine.sandbox.ultravox.knobs import Mischief
from engine.sandbox.ultravox.server_messages import Cut, Ping

_ODD_BYTES = 321
_TONE_HZ = 440.0


def perform(mischief: Mischief, agent: Agent) -> None:
    """Perform ``mischief`` now."""
    messages, output_hz = agent.messages, agent.settings.output_hz
    match mischief.do:
        case "cut":
            messages.put(Cut())
        case "close":
            agent.end("system_error", mischief.code)
        case "clear":
            messages.send("playback_clear_buffer")
        case "interrupt":
            agent.clear()
        case "text":
            messages.put(mischief.text)
        case "empty":
            messages.put(b"")
        case "byte":
            messages.put(b"\0")
        case "odd":
            pcm = tone(_TONE_HZ, mischief.ms, output_hz)
            for start in range(0, len(pcm), _ODD_BYTES):
                messages.put(pcm[start : start + _ODD_BYTES])
        case "burst":
            messages.put(tone(_TONE_HZ, mischief.ms, output_hz))
        case "say":
            agent.say(mischief.text)
        case "tool":
            agent.invoke_tool(mischief.text, {})
        case "ping":
            messages.put(Ping())
        case "hang-up":
            agent.hang_up(mischief.text)
        case _:
            assert_never(mischief.do)
