"""The edge as a process: who dies, who is let in, and what is left at the far end."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import cast

import pytest

from engine.environments.live import LiveBackend
from engine.outcome import Cause
from engine.records import CallRecord, Environment, Status
from tests.sip.peers import SippUas
from tests.sip.process import wait_until
from tests.sip.test_faults import worker_pid
from tests.sip.trunkline import Trunkline, assert_outcome, trunkline

pytestmark = pytest.mark.sip

ANSWERS = "uas-answers-and-echoes-rtp"
STRANGER = "127.0.0.8"


def edge_pid(line: Trunkline) -> int:
    child = cast(LiveBackend, line.engine._backends[Environment.LIVE])._edge._child
    assert child is not None
    return child.pid


async def answered(line: Trunkline, count: int) -> list[CallRecord]:
    calls = [await line.place() for _ in range(count)]
    for call in calls:
        await line.status(call, Status.ANSWERED)
    return calls


async def test_a_killed_worker_leaves_no_phone_behind(tmp_path: Path) -> None:
    async with SippUas(ANSWERS) as callee, trunkline(tmp_path, callee.uri, max_calls=8) as line:
        calls = await answered(line, 6)
        victim = worker_pid(line, calls[0])
        doomed = [call for call in calls if worker_pid(line, call) == victim]
        os.kill(victim, signal.SIGKILL)
        killed_at_s = time.monotonic()
        byes = await callee.wait_for("BYE", count=len(doomed), within_s=5)
        assert time.monotonic() - killed_at_s < 5
        assert {bye.call_id for bye in byes} == {call.sip_call_id for call in doomed}
        for call in doomed:
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.WORKER_LOST)
        spared = [call for call in calls if call not in doomed]
        assert spared
        for call in spared:
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)


async def test_a_phone_that_rings_for_a_killed_worker_is_cancelled(tmp_path: Path) -> None:
    async with SippUas("uas-rings-forever") as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await line.status(call, Status.RINGING)
        os.kill(worker_pid(line, call), signal.SIGKILL)
        await callee.wait_for("CANCEL", within_s=5)


async def test_calls_outlive_a_killed_edge_and_are_hung_up_by_the_next_one(tmp_path: Path) -> None:
    async with SippUas(ANSWERS) as callee, trunkline(tmp_path, callee.uri, max_calls=8) as line:
        calls = await answered(line, 5)
        first = edge_pid(line)
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: edge_pid(line) != first, "another edge")
        following = (await answered(line, 1))[0]
        for call in (*calls, following):
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
        byes = await callee.wait_for("BYE", count=6, within_s=5)
        assert {bye.call_id for bye in byes} == {call.sip_call_id for call in (*calls, following)}


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(
            f"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKa;maddr={'a' * 254}\r\n\r\n", id="long maddr"
        ),
        pytest.param(f"OPTIONS sip:a SIP/2.0\r\nSubject: a{' ' * 3500}b\r\n\r\n", id="a run of blanks"),
        pytest.param("\0" * 1500, id="zeros"),
    ],
)
async def test_a_strangers_datagrams_reach_nobody(tmp_path: Path, datagram: str) -> None:
    async with SippUas(ANSWERS) as callee, trunkline(tmp_path, callee.uri) as line:
        (call,) = await answered(line, 1)
        processes = edge_pid(line), worker_pid(line, call)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((STRANGER, 0))
            stranger.settimeout(0.5)
            for _ in range(200):
                stranger.sendto(datagram.encode(), ("127.0.0.1", line.config.sip.port))
            with pytest.raises(TimeoutError):
                stranger.recvfrom(65_535)
        assert (edge_pid(line), worker_pid(line, call)) == processes
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)


async def test_the_same_datagrams_from_a_trunks_own_address_end_nothing(tmp_path: Path) -> None:
    async with SippUas(ANSWERS) as callee, trunkline(tmp_path, callee.uri) as line:
        (call,) = await answered(line, 1)
        processes = edge_pid(line), worker_pid(line, call)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trunk:
            trunk.bind(("127.0.0.1", 0))
            for size in range(240, 270):
                for text in (f"maddr={'a' * size}", f"maddr={'a.' * size}", "x=" + '"' * size):
                    message = f"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKa;{text}\r\n\r\n"
                    trunk.sendto(message.encode(), ("127.0.0.1", line.config.sip.port))
            trunk.sendto(b"INVITE " + b" " * 60_000, ("127.0.0.1", line.config.sip.port))
        assert (edge_pid(line), worker_pid(line, call)) == processes
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
