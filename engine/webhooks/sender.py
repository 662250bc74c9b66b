"""One attempt: a delivery signed by the Standard Webhooks specification and posted to its endpoint."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import standardwebhooks

from engine.errors import TargetRefused
from engine.webhooks.delivery import Delivery, Webhook
from engine.webhooks.targets import Resolver, check_url

TIMEOUT_S = 10.0


class Undelivered(Exception):
    """No response came. The text says why, without any URL or secret."""


class Sender:
    """Posts deliveries, each on a new connection to an address that was checked.

    It follows no redirects, uses no proxies or cookies, and reads only the status of a response.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._allow_private = allow_private
        self._resolver = resolver or Resolver(allow_private=allow_private)
        # No connection is reused: it was opened for one name, and another name may have the same address.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or httpx.create_ssl_context(trust_env=False), trust_env=False, limits=limits
        )
        self._timeout_s = timeout_s
        self._now = now

    async def post(self, webhook: Webhook, delivery: Delivery) -> int:
        """Make one attempt; returns the response's status. Raises ``Undelivered`` when none comes in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(webhook, delivery)
        except TimeoutError:
            raise Undelivered(f"no response within {self._timeout_s:g} s") from None
        except TargetRefused as error:
            raise Undelivered(str(error)) from None
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            raise Undelivered(type(error).__name__) from error

    async def aclose(self) -> None:
        """Close all connections."""
        self._resolver.close()
        await self._transport.aclose()

    async def _post(self, webhook: Webhook, delivery: Delivery) -> int:
        url = check_url(webhook.url, allow_private=self._allow_private)
        *others, last = await self._resolver.addresses(url.host)
        for address in others:
            try:
                return await self._connect_and_post(url, address, webhook, delivery)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._connect_and_post(url, last, webhook, delivery)

    async def _connect_and_post(self, url: httpx.URL, address: str, webhook: Webhook, delivery: Delivery) -> int:
        now = self._now()
        request = httpx.Request(
            "POST",
            url.copy_with(host=address),
            headers={
                "Host": url.netloc.decode("ascii"),
                "Connection": "close",
                "User-Agent": "Trunkline",
                "Content-Type": "application/json",
                "webhook-id": delivery.id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": standardwebhooks.Webhook(webhook.secret).sign(delivery.id, now, delivery.body),
            },
            content=delivery.body.encode(),
            # The certificate must match the name, whichever of its addresses answers.
            extensions={
                "sni_hostname": url.raw_host.decode("ascii"),
                "timeout": {"connect": self._timeout_s / 2, "read": self._timeout_s, "write": self._timeout_s},
            },
        )
        response = await self._transport.handle_async_request(request)
        await response.aclose()
        return response.status_code
