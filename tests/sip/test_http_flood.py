"""A real ``trunkline serve`` under floods of requests: one call where one was asked for, and no more than the limit."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from api.cli.keys import create
from tests.sip.server import BUSY, RINGS_FOREVER, SANDBOX_CALL, ServerProcess
from tests.sip.tools.http_flood import Connection, of_many, post_at_rate

POSTS = int(os.environ.get("FLOOD_POSTS", "1000"))
"""10000 for the whole proof."""
SECONDS = float(os.environ.get("FLOOD_SECONDS", "3"))
RATE, LIMIT = 1000, 10


def calls_placed(server: ServerProcess) -> int:
    connection = sqlite3.connect(server.database)
    try:
        return int(connection.execute("SELECT count(*) FROM calls").fetchone()[0])
    finally:
        connection.close()


def port_of(server: ServerProcess) -> int:
    port = server.client.base_url.port
    assert port is not None
    return port


@pytest.mark.alone
async def test_one_idempotency_key_from_fifty_clients_is_one_call_also_across_kill_9(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    body = {**SANDBOX_CALL, "to": RINGS_FOREVER}

    async def post(connection: Connection) -> tuple[int, dict[str, Any]]:
        return await connection.post("/api/voice", body, Idempotency_Key="order-7")

    answers, took_s = [], 0.0
    async with ServerProcess(tmp_path, "[sip]\nmax_calls = 4\n") as server:
        for half in range(2):
            if half:
                await server.kill()
                await server.start()
            began_s = time.monotonic()
            answers += await of_many(50, port_of(server), server.key, POSTS // 2, post)
            took_s += time.monotonic() - began_s
        assert calls_placed(server) == 1
    assert len(answers) == POSTS
    assert {status for status, _ in answers} == {200}
    assert len({answer["id"] for _, answer in answers}) == 1
    with capfd.disabled():
        rate = POSTS / took_s
        print(f"\n{POSTS} POSTs by 50 clients with one Idempotency-Key, a kill -9 between: one call, {rate:.0f}/s")


@pytest.mark.alone
async def test_flood_beyond_a_keys_rate_dials_the_limit_and_leaves_other_keys_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ServerProcess(tmp_path) as server:
        mint = partial(create, server.config, name="flood", test=True, scopes="*", rate_per_s=LIMIT, expires=None)
        flooding = await asyncio.to_thread(mint)
        call_id = await server.place(to=BUSY)
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(1, get_context("spawn")) as flooder:
            body = {**SANDBOX_CALL, "to": BUSY}
            flood = loop.run_in_executor(flooder, post_at_rate, port_of(server), flooding, body, RATE, SECONDS)
            waits_ms = []
            async with Connection(port_of(server), server.key) as connection:
                while not flood.done():
                    asked_s = time.monotonic()
                    status, _ = await connection.get(f"/api/voice/{call_id}")
                    assert status == 200
                    waits_ms.append((time.monotonic() - asked_s) * 1000)
                    await asyncio.sleep(0.01)
            statuses, took_s = await flood
        assert statuses.keys() == {200, 429}
        assert statuses.total() == RATE * SECONDS
        assert statuses[200] <= LIMIT + LIMIT * took_s
        assert calls_placed(server) == statuses[200] + 1
    with capfd.disabled():
        p50, p99 = statistics.median(waits_ms), statistics.quantiles(waits_ms, n=100)[98]
        print(
            f"\n{statuses.total() / took_s:.0f} POSTs/s for {took_s:.1f} s by a key of {LIMIT}/s: "
            f"{statuses[200]} calls, {statuses[429]} × 429; {len(waits_ms)} GETs of another key: "
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max(waits_ms):.1f} ms"
        )
