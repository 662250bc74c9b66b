"""Many AI calls at once, with the machine to themselves: nothing is lost, nothing left, a dead worker dies alone."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import statistics
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.messages.events import Heartbeat
from engine.outcome import Cause
from engine.processes.pool import WorkerPool
from engine.records import CallRecord, Environment, Status, call_of
from engine.sandbox.ultravox import Conversation
from tests import audio
from tests.sip.ai_rig import AiRig, ai_rig, speak
from tests.sip.peers import SippUas
from tests.sip.process import wait_until

pytestmark = [pytest.mark.sip, pytest.mark.alone]

CALLS, LASTS_S = 40, 30
SENTENCE_S, PAUSE_S = 4.0, 2.0
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def pool_of(rig: AiRig) -> WorkerPool:
    return rig.engine._backends[Environment.LIVE].pool


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of these processes together."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(user) + int(system) for user, system in ((it[11], it[12]) for it in fields)) / _CLOCK_TICKS


def pss_mb(pids: Iterable[int]) -> float:
    """Proportional set size: what is shared is counted by halves."""
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in pids)
    return sum(int(line.split()[1]) for lines in rollups for line in lines if line.startswith("Pss:")) / 1024


def descendants() -> set[int]:
    """Every process below this one."""
    children: dict[int, set[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, set()).add(int(stat.parent.name))
    found, unseen = set[int](), {os.getpid()}
    while unseen:
        unseen = set().union(*(children.get(pid, set()) for pid in unseen))
        found |= unseen
    return found


def bound_ports(first: int, last: int) -> list[int]:
    """Those of the range that somebody on this machine has bound."""
    tables = (Path(f"/proc/net/{protocol}").read_text().splitlines()[1:] for protocol in ("udp", "tcp"))
    local = (int(line.split()[1].rpartition(":")[2], 16) for table in tables for line in table)
    return [port for port in local if first <= port <= last]


def leftovers() -> tuple[set[int], int, int]:
    """Processes, file descriptors and tasks of this process that the test must give back."""
    return descendants(), len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


async def converse(conversation: Conversation, until_s: float) -> None:
    """The agent says numbered sentences, with pauses; the callee's echo answers in them."""
    sentence = audio.tone(600, conversation.settings.output_hz, SENTENCE_S)
    number = 0
    while time.monotonic() < until_s - SENTENCE_S - PAUSE_S:
        number += 1
        speak(conversation, sentence, f"Sentence {number} of the agent.")
        await asyncio.sleep(SENTENCE_S + PAUSE_S)


def gaps(pcm: bytes) -> list[float]:
    """Silences in ms that are no pause between sentences."""
    inner = audio.segments(pcm, 8000, window_ms=10)[1:-1]
    return [it.duration_ms for it in inner if not it.sounding and it.duration_ms < PAUSE_S * 500]


async def watch_ticks(pool: WorkerPool, beats: list[Heartbeat]) -> None:
    """Collect every heartbeat that comes while calls are on."""
    latest: dict[int, Heartbeat] = {}
    while True:
        beats += (beat for pid, beat in pool.heartbeats.items() if beat is not latest.get(pid))
        latest = dict(pool.heartbeats)
        await asyncio.sleep(0.25)


async def test_forty_calls_for_half_a_minute_lose_nothing_and_leave_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    gc.collect()  # what another test left over must not be given back during this one
    before = leftovers()
    async with (
        SippUas("uas-answers-and-echoes-rtp", rtp_echo=True) as callee,
        ai_rig(callee.uri, max_calls=CALLS, capture_s=LASTS_S) as rig,
    ):
        calls = [await rig.place() for _ in range(CALLS)]
        conversations = [await rig.talking(call) for call in calls]
        until_s = time.monotonic() + LASTS_S
        talks = [asyncio.create_task(converse(conversation, until_s)) for conversation in conversations]
        pool = pool_of(rig)
        beats: list[Heartbeat] = []
        watching = asyncio.create_task(watch_ticks(pool, beats))
        pids, since_s, cpu_before_s = list(pool.pids()), time.monotonic(), cpu_s(pool.pids())
        await asyncio.sleep(until_s - time.monotonic())
        share = (cpu_s(pids) - cpu_before_s) / (time.monotonic() - since_s)
        memory_mb = pss_mb(pids)
        await asyncio.gather(*talks)
        watching.cancel()
        for call, conversation in zip(calls[::2], conversations[::2], strict=True):
            speak(conversation, audio.tone(600, 8000, 0.5), "Goodbye.", then="agent_hangup")
            assert (await rig.get(call)).status is Status.ANSWERED
        for call in calls[1::2]:
            await rig.hang_up(call)
        records = [await rig.ended(call) for call in calls]
        await callee.wait_for("BYE", count=CALLS)
        assert callee.complaints == []
    assert [cause_of(record) for record in records] == [Cause.AGENT_HANGUP, Cause.CALLER_HANGUP] * (CALLS // 2)
    for record, conversation in zip(records, conversations, strict=True):
        assert record.ai is not None
        said = [(turn.role.capitalize(), turn.text) for turn in conversation.transcript.turns]
        assert [(line.speaker.value, line.text) for line in record.ai.transcript] == said
        assert len(said) > LASTS_S / (SENTENCE_S + PAUSE_S) - 2
        assert record.media is not None
        assert (record.media["underruns"], record.media["overrun_ms"]) == (0, 0)
    await wait_until(lambda: leftovers() == before, "processes, descriptors and tasks as before")
    assert bound_ports(rig.config.sip.port, rig.config.sip.rtp_ports.last) == []
    late = [record.media["rtp_late"] + record.media["rtp_lost"] for record in records if record.media]
    gaps_ms = [gap_ms for conversation in conversations for gap_ms in gaps(bytes(conversation.audio.captured))]
    p99_ms = [beat.late_p99_ms for beat in beats]
    with capfd.disabled():
        print(
            f"\n{CALLS} AI calls, {LASTS_S} s, {len(pids)} workers: CPU {share / CALLS:.2%} of a core and "
            f"{memory_mb / CALLS:.1f} MB (PSS) a call; tick lateness p99 {statistics.median(p99_ms):.1f} ms (the worst "
            f"second of a worker {max(p99_ms):.1f} ms), max {max(beat.late_max_ms for beat in beats):.1f} ms; "
            f"RTP late or lost {sum(late)}; gaps in the echoed sentences {len(gaps_ms)}, longest "
            f"{max(gaps_ms, default=0):.0f} ms"
        )


def cause_of(record: CallRecord) -> Cause | None:
    return record.outcome.cause if record.outcome is not None else None


async def test_killed_worker_takes_its_own_calls_along_and_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    gc.collect()  # what another test left over must not be given back during this one
    before = leftovers()
    async with (
        SippUas("uas-answers-and-echoes-rtp", rtp_echo=True) as callee,
        ai_rig(callee.uri, max_calls=16, capture_s=0) as rig,
    ):
        calls = [await rig.place() for _ in range(12)]
        conversations = [await rig.talking(call) for call in calls]
        talks = [asyncio.create_task(converse(it, time.monotonic() + 10)) for it in conversations]
        await asyncio.sleep(3)
        victim = next(worker for worker in pool_of(rig)._workers.values() if worker.calls)
        doomed = {call_of(attempt_id) for attempt_id in victim.calls}
        assert victim.child is not None
        killed_at = datetime.now(UTC)
        os.kill(victim.child.pid, signal.SIGKILL)
        lost = [await rig.ended(call) for call in calls if call.id in doomed]
        assert 0 < len(lost) < len(calls)
        assert {cause_of(record) for record in lost} == {Cause.WORKER_LOST}
        took_s = [(record.ended_at - killed_at).total_seconds() for record in lost if record.ended_at]
        assert max(took_s) < 5
        following = await rig.place()
        speak(await rig.talking(following), audio.tone(600, 8000, 0.5), "The next call.", then="agent_hangup")
        assert cause_of(await rig.ended(following)) is Cause.AGENT_HANGUP
        await asyncio.gather(*talks)
        others = [call for call in calls if call.id not in doomed]
        assert {(await rig.get(call)).status for call in others} == {Status.ANSWERED}
        for call in others:
            await rig.hang_up(call)
        survived = [await rig.ended(call) for call in others]
    assert {cause_of(record) for record in survived} == {Cause.CALLER_HANGUP}
    for record in survived:
        assert record.media is not None
        assert record.media["underruns"] == 0
        assert record.ai is not None
        assert len(record.ai.transcript) >= 1
    await wait_until(lambda: leftovers() == before, "processes, descriptors and tasks as before")
    assert bound_ports(rig.config.sip.port, rig.config.sip.rtp_ports.last) == []
    with capfd.disabled():
        print(f"\na killed worker's {len(lost)} calls were final {max(took_s) * 1000:.0f} ms later")
