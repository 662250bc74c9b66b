from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from engine.errors import TargetRefused
from engine.webhooks.targets import Resolver, check_url, is_public

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # where clouds keep credentials
    "100.64.0.1",
    "192.0.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2001:0:7f00:1::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_address_is_not_public_however_it_is_wrapped(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https:///path",
        "https://user:password@example.com/",
        "https://127.0.0.1/",
        "https://[::1]:8443/",
        "https://[::ffff:10.0.0.1]/",
        "https://localhost/",
        "https://LOCALHOST/",
        "https://localhost./",
        "https://hook.localhost/",
        "https://127.0.0.1./",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.1/",
        "https://0/",
        "https://%31%32%37.0.0.1/",
        "https://1.2.3.4.5/",
        "https://a..example/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 127}example/",
        "https://example.com:99999/",
        "",
    ],
)
def test_url_that_leads_inside_or_nowhere_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        check_url(url, allow_private=False)


@pytest.mark.parametrize(
    "host", ["example.com", "example.com.", "my_hook.example", "7.example", "xn--bcher-kva.example", "notlocalhost"]
)
def test_name_may_lead_anywhere_until_it_is_looked_up(host: str) -> None:
    assert check_url(f"https://{host}/", allow_private=False).raw_host == host.encode()


def test_private_targets_and_plain_http_can_be_allowed() -> None:
    assert check_url("http://127.0.0.1:8000/hook?x=1", allow_private=True).port == 8000
    with pytest.raises(TargetRefused):
        check_url("file:///etc/passwd", allow_private=True)


def answers(*addresses: str) -> Any:
    return lambda host, port, **hints: [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses
    ]


async def test_of_a_names_addresses_only_public_ones_are_used() -> None:
    resolver = Resolver(allow_private=False, getaddrinfo=answers("127.0.0.1", "8.8.8.8", "::1"))
    assert await resolver.addresses("mixed.example") == ["8.8.8.8"]
    resolver.close()


@pytest.mark.parametrize("host", ["inside.example", "127.1", "2130706433", "0x7f000001"])
async def test_name_that_resolves_inside_only_is_refused_however_it_is_written(host: str) -> None:
    resolver = Resolver(allow_private=False, getaddrinfo=answers("127.0.0.1", "169.254.169.254"))
    with pytest.raises(TargetRefused, match="webhooks.allow_private"):
        await resolver.addresses(host)
    resolver.close()


async def test_literal_address_is_judged_without_a_lookup() -> None:
    resolver = Resolver(allow_private=False, getaddrinfo=answers())
    assert await resolver.addresses("8.8.8.8") == ["8.8.8.8"]
    with pytest.raises(TargetRefused):
        await resolver.addresses("10.0.0.1")
    resolver.close()


async def test_name_that_is_slow_to_resolve_is_asked_for_once_at_a_time() -> None:
    asked: list[str] = []
    answer = threading.Event()

    def slow(host: str, port: None, **hints: int) -> list[Any]:
        asked.append(host)
        answer.wait(5)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 0))]

    resolver = Resolver(allow_private=False, getaddrinfo=slow)
    waiting = [asyncio.create_task(resolver.addresses("slow.example")) for _ in range(40)]
    await asyncio.sleep(0.02)
    waiting[0].cancel()
    answer.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results[1:] == [["8.8.8.8"]] * 39
    assert asked == ["slow.example"]
    resolver.close()
