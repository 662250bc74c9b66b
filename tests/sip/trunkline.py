"""Trunkline itself on loopback, its one trunk pointed at a peer: what an end-to-end test places calls with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.assembly import running_engine
from engine.config.settings import Config
from engine.engine import Engine
from engine.log import LogSettings
from engine.outcome import Cause
from engine.records import CallRecord, CallRequest, Environment, Status
from tests.sip.leftovers import Held
from tests.sip.peers import PASSWORD, USERNAME
from tests.sip.ports import PORTS_IN_BLOCK, port_block
from tests.sip.process import wait_until

FROM, TO = "+15557654321", "+15551234567"
LIVE = Environment.LIVE


class Trunkline:
    """A running engine whose live calls go to one peer."""

    def __init__(self, engine: Engine, config: Config) -> None:
        self.engine = engine
        self.config = config

    async def place(self, *, to: str = TO, max_duration_s: float | None = None) -> CallRecord:
        """A plain call, accepted."""
        request = CallRequest(from_number=FROM, to_number=to, max_duration_s=max_duration_s)
        return await self.engine.place(request, LIVE)

    async def until(self, call: CallRecord, holds: Callable[[CallRecord], bool], *, within_s: float = 30) -> CallRecord:
        """The first record for which ``holds`` is true; an error when the call ends without."""
        record = call
        async with asyncio.timeout(within_s):
            async for record in self.engine.watch(call.id, LIVE):
                if holds(record):
                    return record
        raise AssertionError(f"the call ended before: {record.outcome}")

    async def status(self, call: CallRecord, status: Status) -> CallRecord:
        """The record as it reaches ``status``."""
        return await self.until(call, lambda record: record.status is status)

    async def ended(self, call: CallRecord) -> CallRecord:
        """The final record."""
        return await self.until(call, lambda record: record.status.final)

    async def call(self, *, to: str = TO, max_duration_s: float | None = None) -> CallRecord:
        """A plain call from its request to its final record."""
        return await self.ended(await self.place(to=to, max_duration_s=max_duration_s))

    async def hang_up(self, call: CallRecord) -> None:
        """DELETE."""
        await self.engine.hang_up(call.id, LIVE)


@asynccontextmanager
async def trunkline(
    folder: Path,
    uri: str,
    *,
    registrar: str = "",
    outbound_proxy: Sequence[str] = (),
    password: str = PASSWORD,
    codecs: Sequence[str] = ("PCMU", "PCMA", "G722"),
    ring_timeout: str = "10s",
    max_calls: int = 4,
    until_ready: bool = True,
    sip: Mapping[str, Any] | None = None,
    trunk: Mapping[str, Any] | None = None,
    others: Sequence[Mapping[str, Any]] = (),
) -> AsyncIterator[Trunkline]:
    """An engine with a trunk at ``uri``, every port of its own on loopback, its store in ``folder``.

    ``sip`` and ``trunk`` are further settings of theirs, ``others`` further trunks.
    On a good way out no process, descriptor, task or port of it may be left.
    """
    with port_block() as guard:
        base = guard.getsockname()[1]
        ports = range(base + 1, base + PORTS_IN_BLOCK)
        before = Held.now(ports)
        config = Config.model_validate(
            {
                "store": {"url": f"sqlite:///{folder}/calls.db"},
                "sip": {
                    "bind": "127.0.0.1",
                    "port": base + 1,
                    "rtp_ports": f"{base + 100}-{ports[-1]}",
                    "max_calls": max_calls,
                    "ring_timeout": ring_timeout,
                    **(sip or {}),
                },
                "trunks": (
                    {
                        "name": "tests",
                        "uri": uri,
                        "registrar": registrar,
                        "outbound_proxy": tuple(outbound_proxy),
                        "username": USERNAME,
                        "password": password,
                        "codecs": tuple(codecs),
                        **(trunk or {}),
                    },
                    *others,
                ),
            }
        )
        async with running_engine(config, log=LogSettings(level="CRITICAL")) as engine:
            if until_ready:
                await wait_until(lambda: engine.readiness().ready, "a trunk and a warm worker")
            yield Trunkline(engine, config)
        try:
            await wait_until(lambda: Held.now(ports).within(before), f"all given back, as before: {before}")
        except TimeoutError:
            raise AssertionError(f"not given back: {Held.now(ports)}, before: {before}") from None


def assert_outcome(record: CallRecord, status: Status, cause: Cause, *, sip_code: int | None = None) -> None:
    """The call ended so, and nothing else is told of it."""
    assert record.outcome is not None
    assert (record.status, record.outcome.cause, record.outcome.sip_code) == (status, cause, sip_code), record.outcome
    assert record.outcome.detail.endswith(".")
    assert record.ended_at is not None
