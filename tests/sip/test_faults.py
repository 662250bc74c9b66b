"""Far ends and machines that fail: each has a named outcome, and neither another call nor the engine suffers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import pytest

from engine.environments.live import LiveBackend
from engine.outcome import Cause
from engine.records import CallRecord, Environment, Status, attempt_id_of
from tests.sip.ai_rig import ai_rig
from tests.sip.peers import SippUas, tone
from tests.sip.process import wait_until
from tests.sip.rtp import RtpTap
from tests.sip.server import BUSY, RINGS_5_S, SANDBOX_CALL, ServerProcess
from tests.sip.tools.torture import TORTURE
from tests.sip.trunkline import Trunkline, assert_outcome, trunkline

pytestmark = pytest.mark.sip

ANSWERS = "uas-answers-and-echoes-rtp"
BY_TCP = {"name": "tcp", "uri": "sip:127.0.0.1:9;transport=tcp"}
"""A trunk for whose sake the edge listens for TCP."""


def worker_pid(line: Trunkline, call: CallRecord) -> int:
    child = line.engine._backends[Environment.LIVE].pool._by_call[attempt_id_of(call.id, 1)].child
    assert child is not None
    return child.pid


async def heard_on(tap: RtpTap) -> None:
    """More of our RTP comes."""
    await tap.wait_for_packets(len(tap.packets()) + 25)


# -- processes that hang -----------------------------------------------------------------------------------------------


async def test_a_worker_that_stops_answering_is_replaced_and_its_call_is_lost_and_no_other(tmp_path: Path) -> None:
    async with SippUas(ANSWERS) as callee, trunkline(tmp_path, callee.uri, max_calls=8) as line:
        calls = [await line.place() for _ in range(5)]  # more than one worker holds
        for call in calls:
            await line.status(call, Status.ANSWERED)
        stopped = worker_pid(line, calls[0])
        doomed = [call for call in calls if worker_pid(line, call) == stopped]
        os.kill(stopped, signal.SIGSTOP)
        for call in doomed:
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.WORKER_LOST)
        spared = [call for call in calls if call not in doomed]
        assert spared
        next_call = await line.place()
        await line.status(next_call, Status.ANSWERED)
        for call in (*spared, next_call):
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
        with pytest.raises(ProcessLookupError):
            os.kill(stopped, 0)


# -- malformed SIP and RTP ---------------------------------------------------------------------------------------------


async def test_torture_messages_dial_nothing_and_disturb_neither_call_nor_engine(tmp_path: Path) -> None:
    """RFC 4475, by UDP and TCP, at the port of a worker that carries a call."""
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, trunkline(tmp_path, callee.uri, others=[BY_TCP]) as line:
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            before = worker_pid(line, call)
            contact = callee.requests("INVITE")[0].header("Contact") or ""
            port = int(contact.strip("<>").partition(";")[0].rpartition(":")[2])
            await torture(port)
            await heard_on(tap)
            assert (await line.engine.get(call.id, Environment.LIVE)).status is Status.ANSWERED
            assert worker_pid(line, call) == before
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
            again = await line.place()
            await line.status(again, Status.ANSWERED)
            await line.hang_up(again)
            assert_outcome(await line.ended(again), Status.COMPLETED, Cause.CALLER_HANGUP)
            assert len(callee.requests("INVITE")) == 2
            assert callee.complaints == []


async def test_torture_messages_leave_the_registrar_registered(tmp_path: Path) -> None:
    async with (
        SippUas("registrar-200") as registrar,
        trunkline(tmp_path, registrar.uri, registrar=registrar.uri, others=[BY_TCP]) as line,
    ):
        backend = cast(LiveBackend, line.engine._backends[Environment.LIVE])
        await registrar.wait_for("REGISTER")
        before = backend._registrar._child
        await torture(line.config.sip.port)
        await asyncio.sleep(0.2)
        assert before is not None
        assert backend._registrar._child is before
        assert line.engine.readiness().ready


async def torture(port: int) -> None:
    """Every message, by UDP and by TCP."""
    for message in TORTURE.values():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(message, ("127.0.0.1", port))
        with socket.create_connection(("127.0.0.1", port), timeout=30) as tcp:
            tcp.sendall(message)
        await asyncio.sleep(0)


async def test_a_flood_of_noise_at_the_sip_port_leaves_the_call_alone(tmp_path: Path) -> None:
    noise = random.Random(4475)
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            contact = callee.requests("INVITE")[0].header("Contact") or ""
            port = int(contact.strip("<>").partition(";")[0].rpartition(":")[2])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                for number in range(5000):
                    udp.sendto(noise.randbytes(noise.randrange(1, 1400)), ("127.0.0.1", port))
                    if number % 50 == 0:
                        await asyncio.sleep(0)
            await heard_on(tap)
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)


async def test_a_flood_of_requests_at_the_sip_port_leaves_the_call_alone_and_ends(
    tmp_path: Path,
) -> None:
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            contact = callee.requests("INVITE")[0].header("Contact") or ""
            port = int(contact.strip("<>").partition(";")[0].rpartition(":")[2])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind(("127.0.0.1", 0))
                udp.setblocking(False)
                for number in range(100):
                    udp.sendto(options(number, udp.getsockname()[1]), ("127.0.0.1", port))
                await heard_on(tap)
                while received(udp):
                    pass
                udp.sendto(options(100, udp.getsockname()[1]), ("127.0.0.1", port))
                await wait_until(lambda: received(udp).startswith(b"SIP/2.0 200"), "an answer after the flood")
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)


def options(number: int, port: int) -> bytes:
    lines = [
        "OPTIONS sip:worker@127.0.0.1 SIP/2.0",
        f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{number}",
        "Max-Forwards: 70",
        f"From: <sip:flood@127.0.0.1>;tag={number}",
        "To: <sip:worker@127.0.0.1>",
        f"Call-ID: {number}",
        "CSeq: 1 OPTIONS",
        "Content-Length: 0",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def received(udp: socket.socket) -> bytes:
    try:
        return udp.recv(4096)
    except BlockingIOError:
        return b""


async def test_malformed_rtp_and_rtcp_leave_the_audio_flowing_both_ways(tmp_path: Path) -> None:
    noise = random.Random(3550)
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            await tap.wait_for_packets(10)
            tap.play(tone(440))
            ((host, port),) = tap.sources()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for number in range(3000):
                    # Half of it begins like RTP or RTCP: version 2, then whatever.
                    junk = noise.randbytes(noise.choice((0, 1, 4, 11, 12, 13, 60, 172, 1400)))
                    if number % 2:
                        junk = bytes([0x80 | noise.randrange(64)]) + junk
                    stranger.sendto(junk, (host, port + number % 4 // 3))
                    if number % 50 == 0:
                        await asyncio.sleep(0)
            await heard_on(tap)
            await line.hang_up(call)
            record = await line.ended(call)
            assert_outcome(record, Status.COMPLETED, Cause.CALLER_HANGUP)
            assert record.media and record.media["rtp_received"] > 0


# -- an agent service gone mad -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        pytest.param([bytes(4_000_000)] * 25, Cause.CALLER_HANGUP, id="100 MB of audio"),
        pytest.param(["x" * 100_000_000], Cause.AGENT_LOST, id="100 MB of text"),
        pytest.param([bytes(100_000_000)], Cause.AGENT_LOST, id="100 MB in one message"),
        pytest.param(
            ["", "{", "null", "[]", '{"type": 7}', '{"type": "state"}', '{"type": "transcript", "ordinal": "x"}',
             '{"type": "' + "x" * 1000 + '"}', "[" * 100_000, b"", b"\0"] * 20,
            Cause.CALLER_HANGUP, id="garbage",
        ),
    ],
)  # fmt: skip
async def test_agent_that_sends_too_much_or_nonsense_ends_its_own_call_at_most(
    sent: list[str | bytes], cause: Cause
) -> None:
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            for message in sent:
                conversation.messages.put(message)
            if cause is Cause.CALLER_HANGUP:
                await heard_on(tap)
                await rig.hang_up(call)
            record = await rig.ended(call)
            await callee.wait_for("BYE")
            again = await rig.place()
            await rig.talking(again)
            await rig.hang_up(again)
            assert_outcome(await rig.ended(again), Status.COMPLETED, Cause.CALLER_HANGUP)
    assert_outcome(record, Status.COMPLETED, cause)


# -- a machine that has no more of something ---------------------------------------------------------------------------


@contextmanager
def held(ports: Iterable[int]) -> Iterator[None]:
    """Other programs hold these ports."""
    with ExitStack() as others:
        for port in ports:
            other = others.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            other.bind(("127.0.0.1", port))
        yield


async def test_calls_of_a_worker_whose_rtp_ports_others_hold_are_placed_by_another_worker(tmp_path: Path) -> None:
    async with SippUas(ANSWERS) as callee, trunkline(tmp_path, callee.uri) as line:
        ports = line.config.sip.rtp_ports
        with held(range(ports.first, ports.first + len(ports) // 3)):  # the first worker's share
            for _ in range(5):  # more than the worker has lines
                call = await line.place()
                await line.status(call, Status.ANSWERED)
                await line.hang_up(call)
                assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
        assert len(callee.requests("INVITE")) == 5


async def test_a_call_fails_with_its_cause_when_others_hold_every_rtp_port_and_the_next_one_works(
    tmp_path: Path,
) -> None:
    async with SippUas(ANSWERS) as callee, trunkline(tmp_path, callee.uri) as line:
        ports = line.config.sip.rtp_ports
        with held(range(ports.first, ports.first + len(ports))):
            for _ in range(3):
                record = await line.call()
                assert_outcome(record, Status.FAILED, Cause.ENGINE_ERROR)
                assert record.outcome and "sip.rtp_ports" in record.outcome.detail
            assert callee.requests("INVITE") == []
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)


async def test_full_disk_refuses_new_calls_and_the_live_one_goes_on_until_it_is_hung_up(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        call = await server.place()
        await server.until(call, "answered")
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, hard))  # no file may grow: as a full disk does
        refused = await server.client.post("/api/voice", json=SANDBOX_CALL)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (503, "store-unavailable")
        assert int(refused.headers["retry-after"]) > 0
        readiness = await server.client.get("/readyz")
        assert readiness.status_code == 503
        assert "disk full" in readiness.json()["checks"]["store"]
        assert (await server.get(call))["status"] == "answered"
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert (await server.client.delete(f"/api/voice/{call}")).status_code == 200
        assert (await server.until(call, "completed"))["ended"]["cause"] == "caller-hangup"
        await server.place()
        assert (await server.client.get("/readyz")).status_code == 200


async def test_locked_database_refuses_new_calls_and_keeps_the_live_one_untold_until_it_is_free(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        call = await server.place(to=RINGS_5_S)
        await server.until(call, "ringing")
        with contextlib.closing(sqlite3.connect(server.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            refused = await server.client.post("/api/voice", json=SANDBOX_CALL)
            assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (503, "store-unavailable")
            assert (await server.client.get("/readyz")).status_code == 503
            assert (await server.get(call))["status"] == "ringing"
        record = await server.until(call, "answered")
        assert (await server.client.delete(f"/api/voice/{call}")).status_code == 200
        assert (await server.until(call, "completed"))["createdAt"] == record["createdAt"]


async def test_exhausted_descriptors_make_clients_wait_and_harm_no_call(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        call = await server.place()
        await server.until(call, "answered")
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        in_use = len(os.listdir(f"/proc/{server.pid}/fd"))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (in_use + 5, hard))
        with ExitStack() as clients:
            address = (server.client.base_url.host, server.client.base_url.port)
            for _ in range(20):
                clients.enter_context(socket.create_connection(address, timeout=30))
            await wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) >= in_use + 5, "no descriptor left")
            assert (await server.get(call))["status"] == "answered"  # over the connection that was open before
        assert (await server.client.delete(f"/api/voice/{call}")).status_code == 200
        assert (await server.until(call, "completed"))["ended"]["cause"] == "caller-hangup"
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
        await server.until(await server.place(to=BUSY), "failed")
