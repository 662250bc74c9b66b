"""``trunkline demo``: one AI call in the sandbox from start to end, kept as a stereo WAV."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import typer

from api.cli.call import watch_call
from api.cli.client import Client
from api.cli.failure import CommandFailed
from api.cli.keys import add_key
from api.cli.serve import FIRST_CALL
from api.cli.server import running_server
from engine.config.settings import Config, HttpConfig, StoreConfig
from engine.log import LogSettings, set_up_logging
from engine.records import Environment


def demo(out: Path) -> None:
    """Run a temporary server for one call; only ``out`` is left afterwards."""
    if not out.parent.is_dir():
        raise CommandFailed(f"There is no folder {out.parent} to leave the recording in.")
    log = LogSettings(level="WARNING")
    set_up_logging(log)
    with tempfile.TemporaryDirectory(prefix="trunkline-demo-") as folder:
        asyncio.run(_call(Path(folder), log))
        recordings = list(Path(folder).glob("*.wav"))
        if not recordings:
            raise CommandFailed("The call left no recording.")
        shutil.move(recordings[0], out)
    typer.echo(f"Both sides of it are in {out.resolve()} (left the agent, right the callee).")


async def _call(folder: Path, log: LogSettings) -> None:
    config = Config(http=HttpConfig(port=0), store=StoreConfig(url=f"sqlite:///{folder}/demo.db"))
    key, _ = await add_key(config, Environment.TEST, "demo", timedelta(hours=1))
    async with running_server(config, log=log, recordings=folder) as served, Client(served.url, key) as client:
        await watch_call(client, FIRST_CALL)
