"""``trunkline call``: place a call through the running server and watch it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import typer

from api.cli.client import Client, Record, url_of
from api.cli.failure import CommandFailed
from api.cli.keys import temporary_key
from api.cli.progress import Progress, summary
from api.cli.screen import console
from engine.config.file import load_config
from engine.config.settings import Config
from engine.records import Environment

_KEY_VALID = timedelta(days=1)
"""The key is valid as long as a call may last, because Ctrl-C must be able to hang up. Only this process sees it."""


def call(path: Path | None, body: Mapping[str, str], *, key: str | None, test: bool, url: str | None) -> bool:
    """Place the call and show it to its end; True when it was answered. Ctrl-C hangs up.

    Without ``key``, one is made in the configuration's store, to which only the operator has access.
    """
    config = load_config(path, os.environ)
    return asyncio.run(_call(config, body, key=key, test=test, url=url or url_of(config.http)))


async def watch_call(client: Client, body: Mapping[str, str], *, interruptible: bool = False) -> Record:
    """Place a call and show it to its end; returns its final record. ``interruptible``: Ctrl-C hangs up."""
    screen = console()
    progress = Progress(screen)
    record = await client.place(body)
    async with _interrupt_hangs_up(client, record["id"]) if interruptible else nullcontext():
        async for event, data in client.follow(record["id"]):
            progress.show(event, data)
            record = data if event == "status" else record
    if "ended" not in record:
        raise CommandFailed("The server stopped sending the call's events before its end.")
    screen.print(summary(record))
    return record


async def _call(config: Config, body: Mapping[str, str], *, key: str | None, test: bool, url: str) -> bool:
    environment = Environment.TEST if test or not config.trunks else Environment.LIVE
    async with (
        usable_key(config, key, environment, "trunkline call", _KEY_VALID) as usable,
        Client(url, usable) as client,
    ):
        record = await watch_call(client, body, interruptible=True)
    return bool(record["status"] == "completed")


@asynccontextmanager
async def usable_key(
    config: Config, key: str | None, environment: Environment, name: str, valid: timedelta
) -> AsyncIterator[str]:
    """``key``, or a new one in the configuration's store, to which only the operator has access."""
    if key is not None:
        yield key
        return
    _check_store(config)
    async with temporary_key(config, environment, name, valid) as made:
        yield made


def _check_store(config: Config) -> None:
    store = Path(config.store.url.removeprefix("sqlite:///"))
    if not store.exists():
        raise CommandFailed(f"The server's store is not here ({store}): name its --config, or pass --key.")


@asynccontextmanager
async def _interrupt_hangs_up(client: Client, call_id: str) -> AsyncIterator[None]:
    """The first Ctrl-C ends the call, and its end is then shown. The second one ends this program."""
    loop = asyncio.get_running_loop()
    hanging_up: set[asyncio.Task[None]] = set()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        hanging_up.add(loop.create_task(_hang_up(client, call_id)))

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        await asyncio.gather(*hanging_up)  # the call's end may be shown before its hang-up is answered


async def _hang_up(client: Client, call_id: str) -> None:
    typer.echo("Hanging up ...", err=True)
    try:
        await client.hang_up(call_id)
    except CommandFailed as failure:
        typer.echo(f"trunkline: {failure}", err=True)
