"""The end of the process, asked for or not: what becomes of the calls that are live."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from pathlib import Path

import httpx
import pytest

from tests.engine.webhooks.receiver import Receiver
from tests.sip.peers import SippUas
from tests.sip.ports import port_block
from tests.sip.process import wait_until
from tests.sip.server import BUSY, RINGS_FOREVER, ROOT, SANDBOX_CALL, ServerProcess
from tests.sip.trunkline import FROM, TO

pytestmark = pytest.mark.sip


async def test_sigterm_takes_no_more_calls_lets_the_live_one_end_and_exits_with_0(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        call = await server.place(to="+15005550006")
        await server.until(call, "answered")
        server.signal(signal.SIGTERM)
        await server.draining()
        assert (await server.client.get("/readyz")).status_code == 503
        refused = await server.client.post("/api/voice", json=SANDBOX_CALL)
        assert refused.status_code == 503
        assert refused.json()["type"].endswith("/shutting-down")
        assert int(refused.headers["retry-after"]) > 0
        assert (await server.get(call))["status"] == "answered"
        assert await server.exit_code() == 0
        assert how_ended(server, call) == ("completed", "callee-hangup")


async def test_calls_that_outlast_the_drain_are_hung_up(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, '[sip]\ndrain_timeout = "0.5s"\n') as server:
        call = await server.place()
        await server.until(call, "answered")
        server.signal(signal.SIGTERM)
        assert await server.exit_code() == 0
        assert how_ended(server, call) == ("completed", "engine-shutdown")


async def test_a_second_signal_ends_every_call_now_and_exits_with_0(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, '[sip]\ndrain_timeout = "1h"\n') as server:
        answered, ringing = await server.place(systemPrompt="Be brief."), await server.place(to=RINGS_FOREVER)
        await server.until(answered, "answered")
        await server.until(ringing, "ringing")
        server.signal(signal.SIGTERM)
        await server.draining()
        assert (await server.client.delete(f"/api/voice/{ringing}")).json() == {"ended": True}
        server.signal(signal.SIGINT)
        assert await server.exit_code() == 0
        assert how_ended(server, answered) == ("completed", "engine-shutdown")
        assert how_ended(server, ringing) == ("failed", "canceled")


async def test_kill_9_loses_no_accepted_call_and_every_webhook_arrives_after_the_restart(tmp_path: Path) -> None:
    """At once: calls are being written and dialled. A little later: some ring. Then: some talk, some have ended."""
    receiver = Receiver(lambda _: 204)
    async with receiver.listening(), ServerProcess(tmp_path) as server:
        hook = {"url": f"http://127.0.0.1:{receiver.port}/", "events": ["voice.completed", "voice.failed"]}
        assert (await server.client.post("/api/webhooks", json=hook)).status_code == 200
        for after_s in (0.0, 0.15, 1.3):
            await server.until(await server.place(to=BUSY), "failed")  # lines are warm now
            accepted = await place_ten_and_kill(server, after_s)
            await server.start()
            for call in accepted:
                record = await server.get(call)
                assert record["status"] in ("completed", "failed"), record
                assert record["ended"]["cause"]
            stored = {call for (call,) in query(server, "SELECT id FROM calls")}
            assert accepted <= stored
            async with asyncio.timeout(30):
                while {request.event["data"]["id"] for request in receiver.received} != stored:
                    await asyncio.sleep(0.02)
        server.signal(signal.SIGTERM)
        assert await server.exit_code() == 0


async def test_a_service_manager_that_ends_the_group_of_a_dead_engine_leaves_no_phone_behind(
    tmp_path: Path,
) -> None:
    """systemd's ``KillMode=control-group``: the control process is killed, then every other process gets SIGTERM."""
    with port_block() as guard:
        first = guard.getsockname()[1]
        async with SippUas("uas-answers-and-echoes-rtp") as callee:
            sip = (
                f'[sip]\nbind = "127.0.0.1"\nport = {first + 1}\nrtp_ports = "{first + 100}-{first + 899}"\n'
                f'[[trunks]]\nname = "tests"\nuri = "{callee.uri}"\n'
            )
            async with ServerProcess(tmp_path, sip, live=True) as server:
                placed = [await server.place(**{"from": FROM, "to": TO}) for _ in range(5)]
                sip_call_ids = {(await server.until(call, "answered"))["callId"] for call in placed}
                await server.kill()
                server.signal_all(signal.SIGTERM)

                def hung_up() -> set[str]:  # a BYE may be sent again
                    return {bye.call_id for bye in callee.requests("BYE")}

                await wait_until(lambda: len(hung_up()) == len(sip_call_ids) == 5, "a BYE for each call", within_s=12)


def test_the_systemd_unit_lets_every_process_end_its_calls() -> None:
    """With ``mixed`` the processes of a dead control process would be killed at once (systemd.kill(5))."""
    unit = (ROOT / "api/cli/trunkline.service").read_text()
    assert "\nKillMode=control-group\n" in unit


async def place_ten_and_kill(server: ServerProcess, after_s: float) -> set[str]:
    """The ids of those calls that were accepted before the end, which comes so long after the first of them."""
    numbers = ["+15005550123", BUSY, RINGS_FOREVER, "+15005550006"] * 2
    placing = [asyncio.create_task(server.place(to=number)) for number in numbers]
    placing += [asyncio.create_task(server.place(systemPrompt="Be brief.")) for _ in range(2)]
    await asyncio.wait(placing, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(after_s)
    await server.kill()
    told = await asyncio.gather(*placing, return_exceptions=True)
    assert all(isinstance(failure, httpx.TransportError) for failure in told if not isinstance(failure, str))
    accepted = {call for call in told if isinstance(call, str)}
    assert accepted
    return accepted


def how_ended(server: ServerProcess, call: str) -> tuple[str, str]:
    """Status and cause as the database has them."""
    rows = query(server, f"SELECT status, json_extract(outcome, '$.cause') FROM calls WHERE id = '{call}'")
    ((status, cause),) = rows
    return status, cause


def query(server: ServerProcess, select: str) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as database:
        return database.execute(select).fetchall()
