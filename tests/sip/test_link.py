"""Two stacks without a SIP socket: whole calls between them pass through a link."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.sip.linked_stack import LinkedStack

pytestmark = pytest.mark.sip

CALLER_HZ, CALLEE_HZ = 700, 1100


@asynccontextmanager
async def a_call(*, bind: str = "127.0.0.1", trunk: str = "tests") -> AsyncIterator[tuple[LinkedStack, LinkedStack]]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    async with (
        LinkedStack("callee", far, bind=bind) as callee,
        LinkedStack("caller", near, bind=bind, trunk=trunk) as caller,
    ):
        await caller.until("answered")
        yield caller, callee


async def each_hears_the_other(caller: LinkedStack, callee: LinkedStack) -> None:
    for stack, tone_hz in ((caller, CALLEE_HZ), (callee, CALLER_HZ)):
        report: dict[str, object] = {}
        for _ in range(100):
            report = await stack.until("heard_hz")
            if report["heard_hz"] == tone_hz:
                break
        assert report["heard_hz"] == tone_hz


@pytest.mark.parametrize(
    ("bind", "family"), [pytest.param("127.0.0.1", "AF_INET", id="IPv4"), pytest.param("::1", "AF_INET6", id="IPv6")]
)
async def test_a_call_over_the_link_is_heard_both_ways_renegotiated_and_ended(bind: str, family: str) -> None:
    async with a_call(bind=bind) as (caller, callee):
        await each_hears_the_other(caller, callee)
        for stack in (caller, callee):
            sockets = (await stack.report())["sockets"]
            assert {(of, kind) for of, kind, _ in sockets} == {(family, "SOCK_DGRAM")}
            ports = {port for _, _, port in sockets}
            assert len(ports) == 2, "RTP and RTCP, nothing else"
            assert all(21000 <= port <= 21999 for port in ports)
        caller.do("offer")
        await each_hears_the_other(caller, callee)
        callee.do("hang-up")
        assert (await caller.until("ended"))["by_remote"]
        assert not (await caller.report())["sockets"]
        await callee.until("ended")


async def test_an_invite_above_1300_bytes_stays_on_the_link() -> None:
    async with a_call(trunk="x" * 1500) as (caller, callee):
        await each_hears_the_other(caller, callee)
        assert (await caller.report())["longest"] > 2000
        caller.do("hang-up")
        assert (await callee.until("ended"))["by_remote"]
