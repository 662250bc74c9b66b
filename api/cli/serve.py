"""``trunkline serve``: the program as a service, and its welcome to new users."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path

import typer
import uvloop

from api.cli.call import watch_call
from api.cli.client import Client
from api.cli.failure import CommandFailed
from api.cli.keys import add_key
from api.cli.server import running_server
from engine.config.file import find_config, load_config
from engine.config.settings import Config
from engine.log import LogSettings, set_up_logging
from engine.records import Environment

_KEY_VALID = timedelta(days=1)
FIRST_CALL = {
    "from": "+15005550100",
    "to": "+15005550123",
    "systemPrompt": "You are the friendly receptionist of a dental practice. Find a time for the caller.",
    "maxDuration": "60s",
}
"""Any number of the sandbox that answers and talks back."""


def serve(path: Path | None, *, welcome: bool) -> None:
    """Serve until SIGINT or SIGTERM. Then no calls are accepted, and live ones may go on for ``sip.drain_timeout``.

    A second signal hangs up the live calls at once.
    """
    config = load_config(path, os.environ)
    welcome = welcome and find_config(path, os.environ) is None
    # A new user should see only the call, not the log.
    log = LogSettings(level="WARNING" if welcome else "INFO")
    set_up_logging(log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, log, welcome=welcome))


async def _serve(config: Config, log: LogSettings, *, welcome: bool) -> None:
    signals = asyncio.Semaphore(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, signals.release)
    async with running_server(config, log=log) as served:
        gc.collect()
        gc.freeze()  # these 100,000 objects stay: a collection that scans them held everything up for 70 ms
        typer.echo(f"Trunkline answers at {served.url}.")
        if not config.trunks and not welcome:
            typer.echo("No trunk is configured: only tk_test_ keys can call, in the sandbox.")
        greeting = asyncio.create_task(_welcome(config, served.url)) if welcome else None
        stopped = await _first_of(signals.acquire(), asyncio.shield(served.serving))
        if greeting is not None:
            greeting.cancel()
        if stopped:
            await _first_of(signals.acquire(), served.engine.drain(config.sip.drain_timeout_s))
    if not stopped:
        raise CommandFailed("The HTTP server stopped by itself.")


async def _first_of(awaited: Awaitable[object], other: Awaitable[object]) -> bool:
    """Wait for one of the two and cancel the other; returns whether ``awaited`` finished first."""
    both = [asyncio.ensure_future(each) for each in (awaited, other)]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    came = both[0].done()
    for each in both:
        each.cancel()
    return came


async def _welcome(config: Config, url: str) -> None:
    """Place a sandbox AI call and show it, then say how to place the next one."""
    key, _ = await add_key(config, Environment.TEST, "first run", _KEY_VALID)
    typer.echo("No configuration yet, so this is the sandbox: a simulated carrier that really speaks SIP and RTP,")
    typer.echo("and a simulated agent service. One AI call through both:\n")
    try:
        async with Client(url, key) as client:
            await watch_call(client, FIRST_CALL)
    except CommandFailed as failure:
        typer.echo(f"trunkline: {failure}", err=True)
    typer.echo("Your turn (this key ends in a day; `trunkline keys create --test` makes another):\n")
    typer.echo(curl(url, key))
    typer.echo("\nWith your own trunkline.toml the same call rings a real phone: see the README. Ctrl-C stops.\n")
    logging.getLogger("trunkline").setLevel("INFO")


def curl(url: str, key: str) -> str:
    """The first call as a command to paste into a shell."""
    assert "'" not in json.dumps(FIRST_CALL)
    return (
        f"curl {url}/api/voice -H 'Authorization: Bearer {key}' \\\n"
        f"  -H 'Content-Type: application/json' -d '{json.dumps(FIRST_CALL)}'"
    )
