from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine.errors import TargetRefused
from engine.records import Environment
from engine.store import MemoryStore
from engine.webhooks import registry
from engine.webhooks.registry import WebhookRegistry
from engine.webhooks.targets import Resolver

KNOWN = {"inside.example": "127.0.0.1", "outside.example": "8.8.8.8"}


class Names:
    """``getaddrinfo`` for the names of ``KNOWN``; it is silent about ``slow.example`` while the test runs."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, host: str, port: None, **hints: int) -> list[Any]:
        if host == "slow.example":
            self.over.wait(10)
        if host not in KNOWN:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (KNOWN[host], 0))]


@pytest.fixture
async def webhooks(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebhookRegistry]:
    monkeypatch.setattr(registry, "_LOOKUP_S", 0.05)
    names = Names()
    resolver = Resolver(allow_private=False, getaddrinfo=names)
    yield WebhookRegistry(MemoryStore(), allow_private=False, resolver=resolver)
    names.over.set()
    resolver.close()


async def test_name_that_resolves_inside_is_refused_when_the_webhook_is_made(webhooks: WebhookRegistry) -> None:
    with pytest.raises(TargetRefused, match="webhooks.allow_private"):
        await webhooks.add("https://inside.example/hook", ["voice.*"], Environment.LIVE)
    assert await webhooks.all_of(Environment.LIVE) == []


@pytest.mark.parametrize("host", ["outside.example", "unknown.example", "slow.example"])
async def test_name_of_which_nothing_bad_is_known_is_taken(webhooks: WebhookRegistry, host: str) -> None:
    webhook = await webhooks.add(f"https://{host}/hook", ["voice.*"], Environment.LIVE)
    assert list(await webhooks.all_of(Environment.LIVE)) == [webhook]
