"""Questions to real name servers on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import dns.rcode
import pytest

from engine.edge import name_lookup
from engine.edge.name_lookup import LookupFailed, NameLookup, Records
from tests.engine.edge.name_server import NameServer, name_server


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with name_server() as running:
        running.zone["a.example", "A"] = ["192.0.2.1"]
        yield running


@pytest.fixture
async def second() -> AsyncIterator[NameServer]:
    async with name_server() as running:
        running.zone["a.example", "A"] = ["192.0.2.2"]
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def lookup(server: NameServer, clock: Clock) -> AsyncIterator[NameLookup]:
    running = NameLookup(lambda: [server.address], clock=clock)
    yield running
    await running.close()


def texts(records: Records) -> list[str]:
    return [record.to_text() for record in records]


async def test_records_are_asked_once_and_remembered_for_their_time(
    server: NameServer, lookup: NameLookup, clock: Clock
) -> None:
    assert texts(await lookup.ask("a.example", "A")) == ["192.0.2.1"]
    server.zone["a.example", "A"] = ["192.0.2.7"]
    clock.now += server.ttl_s - 1
    assert texts(await lookup.ask("A.Example", "A")) == ["192.0.2.1"]
    assert server.asked.total() == 1
    clock.now += 1
    assert texts(await lookup.ask("a.example", "A")) == ["192.0.2.7"]


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(0, 5), (3, 5), (60, 60), (86_400, 3600)])
async def test_the_time_to_live_is_bounded(
    server: NameServer, lookup: NameLookup, clock: Clock, ttl_s: int, kept_s: int
) -> None:
    server.ttl_s = ttl_s
    for after_s, asked in ((0, 1), (kept_s - 0.5, 1), (0.5, 2)):
        clock.now += after_s
        await lookup.ask("a.example", "A")
        assert server.asked.total() == asked


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(0, 5), (30, 30), (3600, 60)])
async def test_a_missing_name_is_remembered_for_a_bounded_time(
    server: NameServer, lookup: NameLookup, clock: Clock, ttl_s: int, kept_s: int
) -> None:
    server.negative_ttl_s = ttl_s
    for after_s, asked in ((0, 1), (kept_s - 0.5, 1), (0.5, 2)):
        clock.now += after_s
        with pytest.raises(LookupFailed, match=r"^no such name \(DNS\)$"):
            await lookup.ask("nosuch.example", "A")
        assert server.asked.total() == asked


async def test_a_name_without_records_of_the_kind_is_no_error(lookup: NameLookup) -> None:
    assert await lookup.ask("a.example", "AAAA") == ()


async def test_aliases_are_followed(server: NameServer, lookup: NameLookup) -> None:
    server.zone["alias.example", "CNAME"] = ["next.example."]
    server.zone["next.example", "CNAME"] = ["a.example."]
    assert texts(await lookup.ask("alias.example", "A")) == ["192.0.2.1"]


async def test_aliases_in_a_ring_are_an_error(server: NameServer, lookup: NameLookup) -> None:
    server.zone["a.ring", "CNAME"] = ["b.ring."]
    server.zone["b.ring", "CNAME"] = ["a.ring."]
    with pytest.raises(LookupFailed):
        await asyncio.wait_for(lookup.ask("a.ring", "A"), 3)


async def test_an_answer_that_does_not_fit_a_datagram_is_asked_by_tcp(server: NameServer, lookup: NameLookup) -> None:
    server.truncate = True
    server.zone["many.example", "A"] = [f"192.0.2.{n}" for n in range(100)]
    assert len(await lookup.ask("many.example", "A")) == name_lookup.MAX_RECORDS
    assert server.by_tcp == 1


async def test_a_forged_answer_does_not_replace_the_right_one(server: NameServer, lookup: NameLookup) -> None:
    server.forge = True
    assert texts(await lookup.ask("a.example", "A")) == ["192.0.2.1"]


async def test_the_same_question_at_the_same_time_is_asked_once(server: NameServer, lookup: NameLookup) -> None:
    server.delay_s = 0.1
    answers = await asyncio.gather(*(lookup.ask("a.example", "A") for _ in range(50)))
    assert {tuple(texts(answer)) for answer in answers} == {("192.0.2.1",)}
    assert server.asked.total() == 1


async def test_one_who_goes_away_leaves_the_question_to_the_others(server: NameServer, lookup: NameLookup) -> None:
    server.delay_s = 0.2
    first = asyncio.create_task(lookup.ask("a.example", "A"))
    other = asyncio.create_task(lookup.ask("a.example", "A"))
    await asyncio.sleep(0.05)
    first.cancel()
    assert texts(await other) == ["192.0.2.1"]
    assert server.asked.total() == 1


async def test_a_silent_name_server_is_passed_over_and_asked_last_from_then_on(
    server: NameServer, second: NameServer
) -> None:
    server.silent = True
    second.zone["b.example", "A"] = ["192.0.2.3"]
    lookup = NameLookup(lambda: [server.address, second.address])
    assert texts(await lookup.ask("a.example", "A")) == ["192.0.2.2"]
    started = time.monotonic()
    assert texts(await lookup.ask("b.example", "A")) == ["192.0.2.3"]
    assert time.monotonic() - started < 0.9
    assert server.asked.total() == 1


async def test_a_name_server_that_fails_is_passed_over(server: NameServer, second: NameServer) -> None:
    server.rcode = dns.rcode.SERVFAIL
    lookup = NameLookup(lambda: [server.address, second.address])
    assert texts(await lookup.ask("a.example", "A")) == ["192.0.2.2"]


async def test_a_failure_of_all_name_servers_is_named_and_remembered_for_a_moment(
    server: NameServer, lookup: NameLookup, clock: Clock
) -> None:
    server.rcode = dns.rcode.REFUSED
    for _ in range(2):
        with pytest.raises(LookupFailed, match=r"^the name server 127\.0\.0\.1 failed \(REFUSED\)$"):
            await lookup.ask("a.example", "A")
    assert server.asked.total() == 1
    server.rcode = None
    clock.now += 5
    assert texts(await lookup.ask("a.example", "A")) == ["192.0.2.1"]


@pytest.mark.parametrize("fault", ["silent", "garbage"])
async def test_without_an_answer_the_question_ends_in_time(
    server: NameServer, lookup: NameLookup, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(name_lookup, "TIME_LIMIT_S", 0.5)
    setattr(server, fault, True)
    with pytest.raises(LookupFailed, match=r"^the name servers did not answer within 0\.5 s$"):
        await asyncio.wait_for(lookup.ask("a.example", "A"), 3)


async def test_old_records_serve_where_dns_fails(server: NameServer, lookup: NameLookup, clock: Clock) -> None:
    await lookup.ask("a.example", "A")
    clock.now += server.ttl_s + 1
    server.rcode = dns.rcode.SERVFAIL
    for _ in range(3):
        assert texts(await lookup.ask("a.example", "A")) == ["192.0.2.1"]
    assert server.asked.total() == 2  # and they serve for a moment before DNS is asked again
    clock.now += name_lookup.MAX_STALE_S
    with pytest.raises(LookupFailed):
        await lookup.ask("a.example", "A")


async def test_old_records_serve_soon_where_dns_is_silent(
    server: NameServer, lookup: NameLookup, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_lookup, "STALE_AFTER_S", 0.1)
    await lookup.ask("a.example", "A")
    clock.now += server.ttl_s + 1
    server.silent = True
    started = time.monotonic()
    assert texts(await lookup.ask("a.example", "A")) == ["192.0.2.1"]
    assert time.monotonic() - started < 1


async def test_a_name_that_was_removed_is_not_served_from_old_records(
    server: NameServer, lookup: NameLookup, clock: Clock
) -> None:
    await lookup.ask("a.example", "A")
    clock.now += server.ttl_s + 1
    del server.zone["a.example", "A"]
    with pytest.raises(LookupFailed, match="no such name"):
        await lookup.ask("a.example", "A")


async def test_the_cache_is_bounded(server: NameServer, lookup: NameLookup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_lookup, "MAX_ENTRIES", 20)
    await lookup.ask("a.example", "A")
    await asyncio.gather(*(lookup.ask(f"n{n}.example", "A") for n in range(19)), return_exceptions=True)
    await lookup.ask("a.example", "A")
    assert server.asked["a.example", "A"] == 1  # what is used stays
    await asyncio.gather(*(lookup.ask(f"m{n}.example", "A") for n in range(20)), return_exceptions=True)
    await lookup.ask("a.example", "A")
    assert server.asked["a.example", "A"] == 2


async def test_too_many_questions_at_once_are_refused(server: NameServer, lookup: NameLookup) -> None:
    server.silent = True
    waiting = [
        asyncio.create_task(lookup.ask(f"n{number}.example", "A")) for number in range(name_lookup.MAX_IN_FLIGHT)
    ]
    await asyncio.sleep(0)
    with pytest.raises(LookupFailed, match="256 other names are being looked up"):
        await lookup.ask("a.example", "A")
    await lookup.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"the process is stopping"}
