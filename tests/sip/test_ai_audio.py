"""What is heard in an AI call: listened to on the other side, counted in packets, timed around the loop."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import datetime

import numpy as np
import pytest

from engine.outcome import Cause, Party
from engine.sandbox.ultravox import CallKnobs, Conversation, Knobs
from tests import audio
from tests.sip.ai_rig import AiRig, EarlyMediaTapped, ai_rig, speak
from tests.sip.peers import Baresip, SippUas, tone
from tests.sip.process import wait_until
from tests.sip.rtp import RtpPacket, RtpTap

pytestmark = pytest.mark.sip

AGENT_HZ, CALLEE_HZ = 607, 1013
"""Neither is a harmonic of the other."""
CLEAR_DB = 30
"""G.711 leaves a tone 36 dB above its quantization noise; a lost frame or a bad resampler leaves 20 dB and less."""
CLICKS_HZ = (500, 1000, 1500, 2000, 2500)


def steady(pcm: bytes, rate_hz: int) -> bytes:
    """The longest sound, without its first and last 40 ms."""
    sound = max((s for s in audio.segments(pcm, rate_hz) if s.sounding), key=lambda s: s.duration_ms)
    first, last = ((sound.start_ms + ms) * rate_hz / 1000 for ms in (40, sound.duration_ms - 40))
    return pcm[2 * round(first) : 2 * round(last)]


def pieces(pcm: bytes, rate_hz: int) -> list[bytes]:
    """Of 100 ms: two clocks that drift, or a far end that is held up, spoil one now and then, which is no fault."""
    size = 2 * (rate_hz // 10)
    return [pcm[start : start + size] for start in range(0, len(pcm) - size + 1, size)]


def clarity_db(pcm: bytes, rate_hz: int, frequency_hz: float) -> float:
    """The middling SNR of the pieces."""
    return float(np.median([audio.tone_snr_db(piece, rate_hz, frequency_hz) for piece in pieces(pcm, rate_hz)]))


def leaks(pcm: bytes, rate_hz: int, frequency_hz: float) -> bool:
    """That tone, however soft, is in half of the pieces: the click of a lost frame is of every frequency."""
    return bool(np.median([audio.hears(it, rate_hz, frequency_hz, min_dbfs=-50) for it in pieces(pcm, rate_hz)]))


def audible_s(pcm: bytes, rate_hz: int = 8000) -> float:
    return sum(segment.duration_ms for segment in audio.segments(pcm, rate_hz) if segment.sounding) / 1000


def percentiles(values_ms: list[float]) -> str:
    p50, p95 = np.percentile(values_ms, (50, 95))
    return f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, {len(values_ms)} samples"


def wall_clock(packet: RtpPacket) -> datetime:
    return datetime.fromtimestamp(packet.arrived_s + time.time() - time.monotonic()).astimezone()


async def exchange_tones(rig: AiRig, callee_heard: tuple[RtpTap | Baresip, int]) -> None:
    """Both sides play their tones at once for two seconds; each must hear the other's alone."""
    listener, callee_rate_hz = callee_heard
    call = await rig.place()
    conversation = await rig.talking(call)
    agent_rate_hz = conversation.settings.output_hz
    speak(conversation, audio.tone(AGENT_HZ, agent_rate_hz, 2.0))
    await rig.ultravox.until(lambda: conversation.agent.speech.idle)
    await asyncio.sleep(0.5)
    at_agent = steady(bytes(conversation.audio.captured), agent_rate_hz)
    await rig.hang_up(call)
    record = await rig.ended(call)
    at_callee = steady(listener.heard(), callee_rate_hz)
    assert len(at_callee) / 2 / callee_rate_hz > 1.8
    assert len(at_agent) / 2 / agent_rate_hz > 1.0
    assert audio.dominant_frequency(at_callee, callee_rate_hz) == pytest.approx(AGENT_HZ, abs=1)
    assert clarity_db(at_callee, callee_rate_hz, AGENT_HZ) > CLEAR_DB
    assert not leaks(at_callee, callee_rate_hz, CALLEE_HZ)
    assert audio.dominant_frequency(at_agent, agent_rate_hz) == pytest.approx(CALLEE_HZ, abs=2)
    assert clarity_db(at_agent, agent_rate_hz, CALLEE_HZ) > CLEAR_DB
    assert not leaks(at_agent, agent_rate_hz, AGENT_HZ)
    assert record.media is not None
    assert (record.media["underruns"], record.media["overrun_ms"]) == (0, 0)


@pytest.mark.parametrize("sample_rate", ["auto", 16000, 48000])
@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
async def test_agent_and_callee_hear_each_others_tone_and_never_their_own(codec: str, sample_rate: int | str) -> None:
    scenario = "uas-answers-and-echoes-rtp" if codec == "PCMU" else "uas-answers-pcma-only"
    with RtpTap(law="PCMU" if codec == "PCMU" else "PCMA") as tap:
        tap.play(tone(CALLEE_HZ))
        async with SippUas(scenario, rtp=tap) as callee, ai_rig(callee.uri, sample_rate=sample_rate) as rig:
            await exchange_tones(rig, (tap, 8000))
        # One frame in fifty may be late; a stream of the wrong rate would have half as many or twice.
        assert float(np.median(tap.spacing_ms())) == pytest.approx(20, abs=5)


@pytest.mark.parametrize("codec", ["PCMU", "G722"])
async def test_agent_and_baresip_hear_each_others_tone_and_never_their_own(codec: str) -> None:
    async with Baresip(tone_hz=CALLEE_HZ, codec=codec) as callee, ai_rig(callee.uri, codecs=(codec,)) as rig:
        await exchange_tones(rig, (callee, callee.rate_hz))
        settings = next(iter(rig.ultravox.account.calls.values())).settings
        assert (settings.input_hz, settings.output_hz) == (callee.rate_hz, callee.rate_hz)


async def test_agents_first_word_leaves_only_after_the_answer_is_acknowledged() -> None:
    knobs = Knobs(call=CallKnobs(greeting_delay_s=0))
    with RtpTap() as tap:
        tap.play(tone(425))
        async with EarlyMediaTapped(tap) as callee, ai_rig(callee.uri, knobs=knobs) as rig:
            call = await rig.place()
            await rig.until(call, lambda it: it.ai is not None and it.ai.ultravox_call_id is not None)
            await tap.wait_for_packets(50)
            simulated = rig.simulated(await rig.get(call))
            assert simulated.conversation is None
            assert all(packet.silent for packet in tap.packets())
            conversation = await rig.talking(call)
            # What rang before the answer is not the callee: none of it reached the agent.
            assert conversation.audio.received_s < 1
            speak(conversation, audio.tone(AGENT_HZ, 8000, 0.5))
            await rig.ultravox.until(lambda: conversation.agent.speech.idle)
            await rig.hang_up(call)
            await rig.ended(call)
            answer = next(m for m in callee.messages if m.status == 200 and m.method == "INVITE")
            acknowledged = callee.requests("ACK")[0]
        assert simulated.joined is not None
        assert simulated.joined.timestamp() > float((answer.header("X-Sent") or "").split()[-1])
        assert wall_clock(next(p for p in tap.packets() if not p.silent)) > acknowledged.at


@pytest.mark.alone
@pytest.mark.parametrize("rate_hz", [8000, 16000])
async def test_what_the_agent_says_comes_back_from_an_echoing_callee(
    rate_hz: int, capfd: pytest.CaptureFixture[str]
) -> None:
    async with (
        SippUas("uas-answers-and-echoes-rtp", rtp_echo=True) as callee,
        ai_rig(callee.uri, sample_rate=rate_hz) as rig,
    ):
        call = await rig.place()
        conversation = await rig.talking(call)
        came_back: list[tuple[float, bytes]] = []
        conversation.on_audio = lambda pcm, now: came_back.append((now, pcm))
        sent = [await click(rig, conversation, CLICKS_HZ[n % len(CLICKS_HZ)]) for n in range(100)]
        await asyncio.sleep(0.3)
        await rig.hang_up(call)
        await rig.ended(call)
    heard = onsets(came_back, rate_hz)
    assert [frequency for _, frequency in heard] == [frequency for _, frequency in sent]
    took_ms = [(there - here) * 1000 for (there, _), (here, _) in zip(heard, sent, strict=True)]
    with capfd.disabled():
        print(f"\nloop WebSocket -> RTP -> echo -> RTP -> WebSocket, {rate_hz} Hz: {percentiles(took_ms)}")


async def click(rig: AiRig, conversation: Conversation, frequency_hz: int) -> tuple[float, int]:
    """20 ms of tone, at any moment of the engine's tick; when, and which."""
    await asyncio.sleep(random.uniform(0.1, 0.12))
    conversation.messages.put(audio.tone(frequency_hz, conversation.settings.output_hz, 0.02, 12_000))
    return rig.flush(), frequency_hz


def onsets(messages: list[tuple[float, bytes]], rate_hz: int) -> list[tuple[float, int]]:
    """Each click in what came back: when the message with its first sample arrived, and its frequency."""
    size = len(messages[0][1]) // 2
    wave = np.concatenate([audio.samples(pcm) for _, pcm in messages])
    loud = np.flatnonzero(np.abs(wave) > 3000)
    starts = loud[np.diff(loud, prepend=-rate_hz) > rate_hz // 25]
    found = []
    for start in starts:
        pitch = audio.dominant_frequency(audio.to_pcm(wave[start : start + rate_hz // 60]), rate_hz)
        found.append((messages[start // size][0], min(CLICKS_HZ, key=lambda hz: abs(hz - pitch))))
    return found


@pytest.mark.alone
async def test_cleared_playback_is_silent_within_two_frames_and_later_speech_plays(
    capfd: pytest.CaptureFixture[str],
) -> None:
    times, queued_s = 30, 30
    took_ms = []
    with RtpTap() as tap:
        async with SippUas("uas-answers-and-echoes-rtp", rtp=tap) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            speech = audio.tone(AGENT_HZ, 8000, queued_s)
            for _ in range(times):
                tap.forget()
                speak(conversation, speech, "one two three " * 20, interruptible=True)
                await wait_until(lambda: sum(not p.silent for p in tap.packets()) > 10, "the agent's speech")
                await asyncio.sleep(random.uniform(0.0, 0.02))
                conversation.agent.clear()
                cleared_s = rig.flush()
                await wait_until(lambda: sum(p.silent for p in tap.packets()[-8:]) == 8, "silence")
                after = [packet for packet in tap.packets() if packet.arrived_s > cleared_s]
                quiet = [packet.silent for packet in after]
                assert quiet.index(True) <= 2, quiet
                assert all(quiet[quiet.index(True) :])
                took_ms.append((after[quiet.index(True)].arrived_s - cleared_s) * 1000)
            tap.forget()
            speak(conversation, audio.tone(CALLEE_HZ, 8000, 0.5))
            await rig.ultravox.until(lambda: conversation.agent.speech.idle)
            await rig.hang_up(call)
            record = await rig.ended(call)
        assert audio.dominant_frequency(steady(tap.heard(), 8000), 8000) == pytest.approx(CALLEE_HZ, abs=2)
        assert audible_s(tap.heard()) == pytest.approx(0.5, abs=0.02)
    assert record.media is not None
    assert record.media["clears"] == times
    assert record.media["cleared_ms"] > times * (queued_s - 2) * 1000
    assert record.media["overrun_ms"] == 0
    with capfd.disabled():
        print(f"\nplayback_clear_buffer -> first silent RTP packet: {percentiles(took_ms)}")


@pytest.mark.parametrize("sample_rate", ["auto", 48000])
async def test_farewell_is_heard_whole_although_the_agent_is_gone_at_once(sample_rate: int | str) -> None:
    with RtpTap() as tap:
        async with (
            SippUas("uas-answers-and-echoes-rtp", rtp=tap) as callee,
            ai_rig(callee.uri, sample_rate=sample_rate) as rig,
        ):
            call = await rig.place()
            conversation = await rig.talking(call)
            conversation.messages.put(audio.tone(AGENT_HZ, conversation.settings.output_hz, 3.0))
            conversation.agent.end("agent_hangup")
            record = await rig.ended(call)
            bye = (await callee.wait_for("BYE"))[0]
        assert audible_s(tap.heard()) == pytest.approx(3.0, abs=0.02)
        assert audio.longest_silence_ms(tap.heard(), 8000) == 0
        assert bye.at > wall_clock([packet for packet in tap.packets() if not packet.silent][-1])
    assert record.outcome is not None
    assert (record.outcome.by, record.outcome.cause) == (Party.AGENT, Cause.AGENT_HANGUP)
    assert record.ai is not None
    assert record.ai.end_reason == "agent_hangup"
