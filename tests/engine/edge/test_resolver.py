"""RFC 3263 against a real name server on loopback."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from dns.rdtypes.IN.SRV import SRV
from hypothesis import given
from hypothesis import strategies as st

from engine.edge import name_lookup, resolver
from engine.edge.name_lookup import NameLookup
from engine.edge.resolver import NameUnresolved, Resolver, in_order
from engine.edge.targets import Target, Transport
from tests.engine.edge.name_server import NameServer, name_server

HOSTS = {"pbx": ("2001:db8::9", "192.0.2.9"), "six": ("2001:db8::6",)}


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with name_server() as running:
        running.zone = {
            ("plain.example", "A"): ["192.0.2.1", "192.0.2.2"],
            ("plain.example", "AAAA"): ["2001:db8::1"],
            ("carrier.example", "A"): ["192.0.2.66"],
            ("_sip._udp.carrier.example", "SRV"): ["20 1 5080 b.carrier.example.", "10 1 5070 a.carrier.example."],
            ("_sip._tcp.carrier.example", "SRV"): ["10 1 5090 a.carrier.example."],
            ("_sips._tcp.carrier.example", "SRV"): ["10 1 5091 a.carrier.example."],
            ("a.carrier.example", "A"): ["192.0.2.10"],
            ("a.carrier.example", "AAAA"): ["2001:db8::10"],
            ("b.carrier.example", "A"): ["192.0.2.20"],
        }
        yield running


@pytest.fixture
async def resolving(server: NameServer) -> AsyncIterator[Resolver]:
    running = Resolver(NameLookup(lambda: [server.address]), lambda: HOSTS)
    yield running
    await running.close()


def places(targets: list[Target]) -> list[str]:
    return [f"{target.transport} {target.address} {target.port}" for target in targets]


@pytest.mark.parametrize(
    ("host", "port", "transport", "secure", "expected"),
    [
        ("192.0.2.5", None, None, False, Target("192.0.2.5", 5060, "udp", "192.0.2.5")),
        ("192.0.2.5", 5080, "tcp", False, Target("192.0.2.5", 5080, "tcp", "192.0.2.5")),
        ("192.0.2.5", None, "tls", False, Target("192.0.2.5", 5061, "tls", "192.0.2.5")),
        ("192.0.2.5", None, "tcp", True, Target("192.0.2.5", 5061, "tls", "192.0.2.5")),
        ("[2001:DB8:0::5]", None, "udp", False, Target("2001:db8::5", 5060, "udp", "2001:DB8:0::5")),
        ("2001:db8::5", 5070, "udp", False, Target("2001:db8::5", 5070, "udp", "2001:db8::5")),
    ],
)
async def test_an_address_needs_no_lookup(
    server: NameServer,
    resolving: Resolver,
    host: str,
    port: int | None,
    transport: Transport | None,
    secure: bool,
    expected: Target,
) -> None:
    assert await resolving.resolve(host, port=port, transport=transport, secure=secure) == [expected]
    assert server.asked.total() == 0


@pytest.mark.parametrize(
    ("transport", "secure", "expected"),
    [
        ("udp", False, ["udp 192.0.2.10 5070", "udp 2001:db8::10 5070", "udp 192.0.2.20 5080"]),
        ("tcp", False, ["tcp 192.0.2.10 5090", "tcp 2001:db8::10 5090"]),
        ("tls", False, ["tls 192.0.2.10 5091", "tls 2001:db8::10 5091"]),
        ("tcp", True, ["tls 192.0.2.10 5091", "tls 2001:db8::10 5091"]),
        (None, True, ["tls 192.0.2.10 5091", "tls 2001:db8::10 5091"]),
        (None, False, ["udp 192.0.2.10 5070", "udp 2001:db8::10 5070", "udp 192.0.2.20 5080"]),
    ],
)
async def test_srv_decides_where_no_port_is_given(
    resolving: Resolver, transport: Transport | None, secure: bool, expected: list[str]
) -> None:
    targets = await resolving.resolve("carrier.example", transport=transport, secure=secure)
    assert places(targets) == expected
    assert {target.host for target in targets} == {"carrier.example"}


async def test_a_port_leaves_addresses_to_look_up(server: NameServer, resolving: Resolver) -> None:
    assert places(await resolving.resolve("carrier.example", port=5062, transport="udp")) == ["udp 192.0.2.66 5062"]
    assert {kind for _, kind in server.asked} == {"A", "AAAA"}


@pytest.mark.parametrize(("transport", "port"), [("udp", 5060), ("tcp", 5060), ("tls", 5061)])
async def test_a_name_without_srv_is_tried_at_the_default_port(
    resolving: Resolver, transport: Transport, port: int
) -> None:
    targets = await resolving.resolve("Plain.Example.", transport=transport)
    expected = [f"{transport} {address} {port}" for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1")]
    assert sorted(places(targets)) == expected  # the name server shuffles the addresses of one kind
    assert places(targets)[-1] == expected[-1]


async def test_without_ipv6_only_ipv4_is_asked(server: NameServer) -> None:
    resolving = Resolver(NameLookup(lambda: [server.address]), lambda: HOSTS, ipv6=False)
    assert sorted(places(await resolving.resolve("plain.example", port=1))) == ["udp 192.0.2.1 1", "udp 192.0.2.2 1"]
    assert places(await resolving.resolve("pbx")) == ["udp 192.0.2.9 5060"]
    assert {kind for _, kind in server.asked} == {"A"}
    with pytest.raises(NameUnresolved, match=r"^six does not resolve: it has IPv6 addresses only \(hosts file\)$"):
        await resolving.resolve("six")


async def test_a_name_of_the_hosts_file_is_not_asked_of_dns(server: NameServer, resolving: Resolver) -> None:
    assert places(await resolving.resolve("PBX", transport="tcp")) == ["tcp 192.0.2.9 5060", "tcp 2001:db8::9 5060"]
    assert server.asked.total() == 0


async def test_an_srv_target_may_stand_in_the_hosts_file(server: NameServer, resolving: Resolver) -> None:
    server.zone["_sip._udp.other.example", "SRV"] = ["1 1 5077 pbx."]
    assert places(await resolving.resolve("other.example")) == ["udp 192.0.2.9 5077", "udp 2001:db8::9 5077"]


async def test_naptr_chooses_the_transport_where_it_is_wanted(server: NameServer, resolving: Resolver) -> None:
    server.zone["carrier.example", "NAPTR"] = [
        '10 50 "s" "SIP+D2U" "" _sip._udp.carrier.example.',
        '10 20 "S" "sip+d2t" "" _sip._tcp.carrier.example.',
        '5 1 "s" "SIP+D2W" "" _sip._ws.carrier.example.',
        '5 1 "u" "SIP+D2U" "!^.*$!sip:x@y!" .',
    ]
    assert places(await resolving.resolve("carrier.example", naptr=True))[0] == "tcp 192.0.2.10 5090"
    assert places(await resolving.resolve("carrier.example"))[0] == "udp 192.0.2.10 5070"
    assert places(await resolving.resolve("b.carrier.example", naptr=True)) == ["udp 192.0.2.20 5060"]


async def test_the_first_transport_with_srv_is_taken_where_none_is_given(
    server: NameServer, resolving: Resolver
) -> None:
    server.zone["_sip._udp.tcponly.example", "SRV"] = ["0 0 0 ."]
    server.zone["_sip._tcp.tcponly.example", "SRV"] = ["1 1 5060 a.carrier.example."]
    assert places(await resolving.resolve("tcponly.example"))[0] == "tcp 192.0.2.10 5060"


async def test_a_service_that_is_decidedly_not_there_is_named(server: NameServer, resolving: Resolver) -> None:
    server.zone["_sip._udp.plain.example", "SRV"] = ["0 0 0 ."]
    with pytest.raises(NameUnresolved) as caught:
        await resolving.resolve("plain.example", transport="udp")
    assert str(caught.value) == "plain.example does not resolve: it offers no SIP over UDP (DNS SRV)"


async def test_srv_targets_without_an_address_are_left_out(server: NameServer, resolving: Resolver) -> None:
    server.zone["_sip._udp.odd.example", "SRV"] = [
        "1 1 5060 gone.example.",
        "2 1 0 a.carrier.example.",
        "3 1 5060 bad\\010name.example.",
        "4 1 5060 b.carrier.example.",
    ]
    assert places(await resolving.resolve("odd.example")) == ["udp 192.0.2.20 5060"]


async def test_srv_without_any_address_is_named(server: NameServer, resolving: Resolver) -> None:
    server.zone["_sip._udp.odd.example", "SRV"] = ["1 1 5060 gone.example."]
    with pytest.raises(NameUnresolved) as caught:
        await resolving.resolve("odd.example")
    assert str(caught.value) == (
        "odd.example does not resolve: its SRV target gone.example has no address: no such name (DNS)"
    )


async def test_a_missing_name_is_named(resolving: Resolver) -> None:
    with pytest.raises(NameUnresolved) as caught:
        await resolving.resolve("sip.nosuch.invalid", transport="udp")
    assert str(caught.value) == "sip.nosuch.invalid does not resolve: no such name (DNS)"
    assert (caught.value.name, caught.value.why) == ("sip.nosuch.invalid", "no such name (DNS)")


async def test_a_name_without_addresses_is_named(server: NameServer, resolving: Resolver) -> None:
    server.zone["mail.example", "TXT"] = ["x"]
    with pytest.raises(NameUnresolved, match=r"^mail\.example does not resolve: it has no address \(DNS\)$"):
        await resolving.resolve("mail.example")


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("", "a part of the name is empty"),
        (".", "a part of the name is empty"),
        ("a..example", "a part of the name is empty"),
        (f"{'a' * 64}.example", "a part of a name has at most 63 characters (RFC 1035)"),
        (".".join(["a" * 60] * 5), "a name has at most 253 characters (RFC 1035)"),
        ("a b.example", "a name has letters, digits, hyphens and dots only"),
        ("bücher.example", "a name has letters, digits, hyphens and dots only"),
        ("a\r\nb", "a name has letters, digits, hyphens and dots only"),
        ("192.0.2.256", "it is neither a name nor an address"),
        ("2001:db8::zz", "a name has letters, digits, hyphens and dots only"),
    ],
)
async def test_a_text_that_is_no_name_is_never_asked(
    server: NameServer, resolving: Resolver, host: str, why: str
) -> None:
    with pytest.raises(NameUnresolved) as caught:
        await resolving.resolve(host)
    assert caught.value.why == why
    assert str(caught.value).isprintable()
    assert server.asked.total() == 0


async def test_a_name_that_is_too_long_for_srv_is_still_a_name(server: NameServer, resolving: Resolver) -> None:
    name = ".".join(["a" * 62] * 4)[:250]
    server.zone[name, "A"] = ["192.0.2.3"]
    assert places(await resolving.resolve(name, transport="udp")) == ["udp 192.0.2.3 5060"]


@pytest.mark.parametrize("kind", ["SRV", "AAAA"])
async def test_a_name_server_that_never_answers_one_kind_delays_but_does_not_prevent(
    server: NameServer, resolving: Resolver, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(resolver, "SERVICE_LIMIT_S", 0.5)
    server.silent_about = {kind}
    started = time.monotonic()
    assert places(await resolving.resolve("b.carrier.example", transport="udp")) == ["udp 192.0.2.20 5060"]
    assert time.monotonic() - started < 2.5


@pytest.mark.parametrize("slow", ["a.carrier.example", "b.carrier.example"])
async def test_an_srv_target_that_nobody_answers_for_does_not_hold_up_the_others(
    server: NameServer, resolving: Resolver, slow: str
) -> None:
    server.silent_about = {slow}
    targets = await resolving.resolve("carrier.example", transport="udp")
    expected = {"udp 192.0.2.10 5070", "udp 2001:db8::10 5070"} if slow.startswith("b") else {"udp 192.0.2.20 5080"}
    assert set(places(targets)) == expected


async def test_without_any_answer_the_lookup_ends_in_time_and_says_so(
    server: NameServer, resolving: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "TIME_LIMIT_S", 1.0)
    monkeypatch.setattr(resolver, "SERVICE_LIMIT_S", 0.5)
    server.silent = True
    started = time.monotonic()
    with pytest.raises(NameUnresolved, match=r"^plain\.example does not resolve: the name servers did not answer"):
        await resolving.resolve("plain.example", transport="udp")
    assert time.monotonic() - started < 3


async def test_old_addresses_serve_where_dns_fails(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    resolving = Resolver(NameLookup(lambda: [server.address], clock=lambda: now), lambda: HOSTS)
    before = await resolving.resolve("carrier.example", transport="udp")
    now += 4000
    server.rcode = dns.rcode.SERVFAIL
    assert await resolving.resolve("carrier.example", transport="udp") == before
    now += 4000
    monkeypatch.setattr(name_lookup, "STALE_AFTER_S", 0.1)
    server.silent = True
    assert await resolving.resolve("carrier.example", transport="udp") == before
    await resolving.close()


async def test_many_calls_at_once_ask_once(server: NameServer, resolving: Resolver) -> None:
    server.delay_s = 0.05
    await asyncio.gather(*(resolving.resolve("carrier.example", transport="udp") for _ in range(100)))
    assert set(server.asked.values()) == {1}


async def test_the_number_of_targets_is_bounded(server: NameServer, resolving: Resolver) -> None:
    server.zone["_sip._udp.wide.example", "SRV"] = [f"1 1 {5000 + n} w{n}.example." for n in range(200)]
    for n in range(200):
        server.zone[f"w{n}.example", "A"] = [f"192.0.2.{m}" for m in range(40)]
    assert len(await resolving.resolve("wide.example", transport="udp")) == resolver.MAX_TARGETS


async def test_the_machine_s_own_resolver_knows_localhost() -> None:
    resolving = Resolver.of_machine()
    assert "udp 127.0.0.1 5060" in places(await resolving.resolve("localhost"))
    await resolving.close()


def srv(priority: int, weight: int, name: str) -> SRV:
    text = f"{priority} {weight} 5060 {name}."
    record = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.SRV, text)
    assert isinstance(record, SRV)
    return record


def names(records: list[SRV]) -> list[str]:
    return [record.target.to_text(omit_final_dot=True) for record in records]


def test_a_lower_priority_comes_first_whatever_the_weights() -> None:
    records = [srv(20, 100, "c"), srv(10, 0, "a"), srv(30, 65_535, "d"), srv(10, 0, "b")]
    assert names(in_order(records)) == ["a", "b", "c", "d"]


def test_weights_share_the_first_place_in_proportion() -> None:
    chance = Random(3)
    records = [srv(1, 60, "sixty"), srv(1, 30, "thirty"), srv(1, 10, "ten"), srv(1, 0, "none")]
    first = Counter(names(in_order(records, chance.randint))[0] for _ in range(2000))
    assert 1050 < first["sixty"] < 1350
    assert 500 < first["thirty"] < 700
    assert 130 < first["ten"] < 270
    assert first["none"] < 60


@given(st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)), max_size=60), st.randoms())
def test_every_record_is_tried_once_and_priorities_rise(pairs: list[tuple[int, int]], chance: Random) -> None:
    records = [srv(priority, weight, f"h{number}") for number, (priority, weight) in enumerate(pairs)]
    ordered = in_order(records, chance.randint)
    assert len(ordered) == len(set(names(ordered))) == min(len(records), resolver.MAX_SRV)
    assert [record.priority for record in ordered] == sorted(record.priority for record in ordered)


@given(st.text(max_size=300))
def test_any_text_ends_as_an_address_or_as_a_sentence(host: str) -> None:
    try:
        targets = asyncio.run(Resolver(NameLookup(tuple), dict).resolve(host))
    except NameUnresolved as error:
        sentence = str(error)
        assert " does not resolve: " in sentence and sentence.isprintable()
    else:
        assert targets
