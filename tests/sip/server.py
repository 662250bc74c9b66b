"""``trunkline serve`` as its own process, with a key and a client: for what only a whole process can show."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx

from api.cli.keys import create
from tests.sip.process import free_port

ROOT = Path(__file__).parents[2]
SANDBOX_CALL = {"from": "+15005550100", "to": "+15005550123"}
BUSY = "+15005550001"
RINGS_FOREVER = "+15005550002"
RINGS_5_S = "+15005550005"


class ServerProcess:
    """One database and one port in ``folder``; may be stopped, killed and started again.

    Its key is for the sandbox, or for the trunks of ``settings`` when it is ``live``.
    """

    def __init__(self, folder: Path, settings: str = "", *, live: bool = False) -> None:
        self.folder = folder
        self._live = live
        self._process: subprocess.Popen[bytes] | None = None
        port = free_port(streams=True)
        self.config = folder / "trunkline.toml"
        store = f'[store]\nurl = "sqlite:///{folder}/calls.db"\n'
        self.config.write_text(f"[http]\nport = {port}\n{store}[webhooks]\nallow_private = true\n{settings}")
        self.key = ""
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)

    @property
    def database(self) -> Path:
        return self.folder / "calls.db"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def mint(self, scopes: str = "*") -> None:
        """Make its key, and with it the database."""
        mint = partial(
            create, self.config, name="tests", test=not self._live, scopes=scopes, rate_per_s=10_000, expires=None
        )
        self.key = await asyncio.to_thread(mint)
        self.client.headers["Authorization"] = f"Bearer {self.key}"

    async def start(self) -> None:
        """Returns when it is ready for calls."""
        if not self.key:
            await self.mint()
        self._process = self._launch()
        async with asyncio.timeout(30):
            while not await self._ready():
                assert self._process.poll() is None, self.log
                await asyncio.sleep(0.05)

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--config", str(self.config)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # with all its processes, as a service manager's control group has them
                env={key: value for key, value in os.environ.items() if not key.startswith("TRUNKLINE_")},
            )

    async def _ready(self) -> bool:
        try:
            return (await self.client.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def signal_all(self, number: int) -> None:
        """To every process of its group that is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def exit_code(self, *, within_s: float = 30) -> int:
        """The code with which it exits by itself."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, within_s)

    async def kill(self) -> None:
        """``kill -9`` of the control process."""
        self.signal(signal.SIGKILL)
        await self.exit_code()

    async def place(self, **body: Any) -> str:
        """The id of an accepted call."""
        response = await self.client.post("/api/voice", json={**SANDBOX_CALL, **body})
        assert response.status_code == 200, response.text
        call_id: str = response.json()["id"]
        return call_id

    async def draining(self) -> None:
        """Returns once it takes no more calls."""
        async with asyncio.timeout(30):
            while (await self.client.get("/readyz")).json()["checks"]["engine"] != "shutting down":
                await asyncio.sleep(0.01)

    async def get(self, call_id: str) -> dict[str, Any]:
        record: dict[str, Any] = (await self.client.get(f"/api/voice/{call_id}")).json()
        return record

    async def until(self, call_id: str, *statuses: str, within_s: float = 30) -> dict[str, Any]:
        """The record once its status is one of these."""
        async with asyncio.timeout(within_s):
            while (record := await self.get(call_id))["status"] not in statuses:
                await asyncio.sleep(0.02)
        return record

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()
        await self.client.aclose()
