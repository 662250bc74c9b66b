"""``trunkline webhooks``: lists webhooks, and sends a signed test event to one."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import typer
from rich import box
from rich.table import Table

from api.cli.failure import CommandFailed
from api.cli.screen import console
from engine.config.file import load_config
from engine.records import Environment
from engine.store import open_store
from engine.webhooks.delivery import Webhook
from engine.webhooks.sender import Sender, Undelivered
from engine.webhooks.subscriptions import trial_event


def show_all(config: Path | None) -> None:
    """Print every webhook, the sandbox's too, oldest first."""

    async def read() -> list[Webhook]:
        store = await open_store(load_config(config, os.environ).store.url)
        try:
            found = [await store.list_webhooks(environment) for environment in Environment]
        finally:
            await store.aclose()
        return sorted((webhook for some in found for webhook in some), key=lambda webhook: webhook.created_at)

    table = Table("id", "keys", "target", "events", "created", "state", box=box.SIMPLE)
    for webhook in asyncio.run(read()):
        state = f"gone since {webhook.disabled_at:%Y-%m-%d}" if webhook.disabled_at else "in use"
        created = f"{webhook.created_at:%Y-%m-%d %H:%M}"
        table.add_row(webhook.id, webhook.environment, _target(webhook.url), " ".join(webhook.events), created, state)
    console().print(table)


def send_test(config: Path | None, webhook_id: str) -> None:
    """Make one signed attempt, as the server would, and print its result. Raises ``CommandFailed`` when it failed."""
    status, took_s = asyncio.run(_attempt(config, webhook_id))
    typer.echo(f"The endpoint answered {status} after {took_s * 1000:.0f} ms.")
    if not 200 <= status < 300:
        raise CommandFailed("Only a 2xx counts as delivered; a redirect is not followed.")


async def _attempt(config: Path | None, webhook_id: str) -> tuple[int, float]:
    settings = load_config(config, os.environ)
    store = await open_store(settings.store.url)
    try:
        webhook = await store.find_webhook(webhook_id)
    finally:
        await store.aclose()
    if webhook is None:
        raise CommandFailed(f"No webhook has the id {webhook_id!r}; see `trunkline webhooks list`.")
    sender = Sender(allow_private=settings.webhooks.allow_private)
    began_s = time.monotonic()
    try:
        return await sender.post(webhook, trial_event(webhook, datetime.now(UTC))), time.monotonic() - began_s
    except Undelivered as error:
        raise CommandFailed(f"The endpoint was not reached: {error}.") from None
    finally:
        await sender.aclose()


def _target(url: str) -> str:
    """The URL without its query, which may hold a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}{'?…' if parts.query else ''}"
