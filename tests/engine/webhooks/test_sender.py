from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from engine.records import CallId
from engine.webhooks.delivery import Delivery, Webhook
from engine.webhooks.sender import Sender, Undelivered
from engine.webhooks.targets import Resolver
from tests.engine.store.samples import NOON, a_webhook
from tests.engine.webhooks.receiver import Receiver

DELIVERY = Delivery(
    id="msg_1",
    webhook_id="whk_1",
    call_id=CallId("call"),
    event="voice.ringing",
    body='{"text":"pizza 🍕"}',
    created_at=NOON,
    due_at=NOON,
)


def to(port: int, host: str = "127.0.0.1", scheme: str = "http") -> Webhook:
    return a_webhook(url=f"{scheme}://{host}:{port}/hook?token=sesame")


async def attempt(webhook: Webhook, **settings: Any) -> int:
    sender = Sender(**{"allow_private": True, **settings})
    try:
        return await sender.post(webhook, DELIVERY)
    finally:
        await sender.aclose()


async def test_delivery_arrives_signed_by_the_specification() -> None:
    async with Receiver(lambda _: 204).listening() as receiver:
        webhook = to(receiver.port)
        assert await attempt(webhook) == 204
        [got] = receiver.received
        assert got.head == "POST /hook?token=sesame HTTP/1.1"
        assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert got.headers["content-type"] == "application/json"
        assert (got.headers["webhook-id"], got.body.decode()) == (DELIVERY.id, DELIVERY.body)
        got.verify(webhook.secret)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            got.verify(a_webhook().secret)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            replace(got, body=got.body + b" ").verify(webhook.secret)


async def test_redirect_is_not_followed() -> None:
    async with Receiver(lambda _: 200).listening() as elsewhere, Receiver(lambda _: 307).listening() as receiver:
        receiver.extra = f"Location: http://127.0.0.1:{elsewhere.port}/\r\n"
        assert await attempt(to(receiver.port)) == 307
        assert elsewhere.received == []


async def test_response_of_any_size_costs_nothing() -> None:
    async with Receiver(lambda _: 200).listening() as receiver:
        receiver.body = b"x" * 50_000_000
        assert await attempt(to(receiver.port)) == 200


async def test_endpoint_that_says_nothing_is_given_up_in_time_without_a_word_of_its_url() -> None:
    async with Receiver(lambda _: None).listening() as receiver:
        with pytest.raises(Undelivered, match=r"no response within 0\.1 s") as caught:
            await attempt(to(receiver.port), timeout_s=0.1)
        assert "sesame" not in str(caught.value)


async def test_endpoint_that_is_not_there_is_an_attempt_that_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Undelivered, match="ConnectError"):
        await attempt(to(port))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_private_target_is_not_connected_to_unless_allowed(scheme: str) -> None:
    async with Receiver(lambda _: 200).listening() as receiver:
        with pytest.raises(Undelivered, match="allow_private"):
            await attempt(to(receiver.port, scheme=scheme), allow_private=False)
        with pytest.raises(Undelivered, match="allow_private"):
            await attempt(to(receiver.port, host="0x7f.1", scheme=scheme), allow_private=False)
        assert receiver.received == []


def resolving(*addresses: str) -> Resolver:
    def getaddrinfo(host: str, port: None, **hints: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    return Resolver(allow_private=True, getaddrinfo=getaddrinfo)


async def test_name_is_resolved_once_and_the_address_that_was_judged_is_connected_to() -> None:
    """No second look-up can answer otherwise (DNS rebinding): the name exists for our resolver alone."""
    async with Receiver(lambda _: 200).listening() as receiver:
        webhook = to(receiver.port, host="hook.invalid")
        assert await attempt(webhook, resolver=resolving("127.0.0.1")) == 200
        assert receiver.received[0].headers["host"] == f"hook.invalid:{receiver.port}"


async def test_next_address_is_tried_when_nobody_listens_at_the_first() -> None:
    async with Receiver(lambda _: 200).listening() as receiver:
        resolver = resolving("127.0.0.2", "127.0.0.1")
        assert await attempt(to(receiver.port, host="hook.invalid"), resolver=resolver) == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    making = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=hook.invalid", "-addext", "subjectAltName=DNS:hook.invalid", "-days", "2"]
    subprocess.run([*making, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


async def test_certificate_must_be_that_of_the_name_and_not_of_the_address(certificate: tuple[Path, Path]) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*certificate)
    asked_for: list[str | None] = []
    serving.sni_callback = lambda connection, name, context: asked_for.append(name)
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with Receiver(lambda _: 200).listening(serving) as receiver:
        webhook = to(receiver.port, host="hook.invalid", scheme="https")
        assert await attempt(webhook, resolver=resolving("127.0.0.1"), tls=trusting) == 200
        assert asked_for == ["hook.invalid"]
        for url, tls in ((to(receiver.port, host="other.invalid", scheme="https"), trusting), (webhook, None)):
            with pytest.raises(Undelivered, match="ConnectError"):
                await attempt(url, resolver=resolving("127.0.0.1"), tls=tls)
        assert len(receiver.received) == 1
        await asyncio.sleep(0.02)
