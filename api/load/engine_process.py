"""The engine under load: ``trunkline serve`` with a configuration for the run, watched from outside."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import tomli_w

from api.load.child import LoadFailed, child, python, until
from api.load.plan import Plan
from api.load.processes import Family
from engine.config.file import load_config
from engine.config.settings import Config

MakeKey = Callable[[Config], Awaitable[str]]
"""Makes an API key in the store of that configuration."""

_RTP_PORTS_PER_CALL: Final = 4
_READY_S: Final = 30.0
_URL: Final = re.compile(r"Trunkline answers at (http\S+)\.\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of a run, all from one block that begins at ``first``."""

    first: int
    lines: int

    @property
    def sipp(self) -> int:
        return self.first + 1

    @property
    def sipp_control(self) -> int:
        return self.first + 2

    @property
    def sipp_media(self) -> int:
        return self.first + 3 + self.first % 2

    @property
    def rtp(self) -> range:
        first = self.first + 20 + self.first % 2
        return range(first, first + _RTP_PORTS_PER_CALL * self.lines)

    @property
    def engine(self) -> set[int]:
        """All ports that the engine may bind."""
        return {self.first, *self.rtp}

    @staticmethod
    def needed(lines: int) -> int:
        return Ports(first=0, lines=lines).rtp.stop + 2


def lines_of(plan: Plan) -> int:
    """The engine's lines: more than the plan's calls, as a hung-up call keeps its line until its BYE is answered."""
    return plan.calls + max(8, plan.calls // 5)


def configuration(plan: Plan, ports: Ports, folder: Path, agent: tuple[str, str]) -> dict[str, Any]:
    """The engine's configuration, as ``Config`` reads it; ``agent`` is the simulated Ultravox's URL and key."""
    base_url, api_key = agent
    ultravox = {"base_url": base_url, "api_key": api_key, "sample_rate": plan.sample_rate} if not plan.plain else {}
    return {
        "http": {"port": 0},
        "store": {"url": f"sqlite:///{folder}/calls.db"},
        "sip": {
            "bind": "127.0.0.1",
            "port": ports.first,
            "max_calls": ports.lines,
            "rtp_ports": f"{ports.rtp.start}-{ports.rtp.stop - 1}",
        },
        "trunks": [{"name": "load", "uri": f"sip:127.0.0.1:{ports.sipp}", "codecs": ["PCMU", "PCMA"]}],
        **({"ultravox": ultravox} if ultravox else {}),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The engine's URL, an API key, and its processes when they are on this machine."""

    url: str
    key: str
    family: Family | None


@asynccontextmanager
async def engine(settings: dict[str, Any], folder: Path, make_key: MakeKey) -> AsyncIterator[Engine]:
    """An engine that serves while the block runs, with warm lines. Raises ``LoadFailed`` when it does not start."""
    file, log = folder / "trunkline.toml", folder / "engine.log"
    file.touch(mode=0o600)
    file.write_text(tomli_w.dumps(settings))
    key = await make_key(load_config(file, {}))
    async with child(python("api.cli", "serve", "--config", str(file)), folder, "engine") as process:

        def answers() -> bool:
            return process.returncode is not None or _URL.search(log.read_text(errors="replace")) is not None

        await until(answers, _READY_S)
        if not (found := _URL.search(log.read_text(errors="replace"))):
            raise LoadFailed(f"The engine did not start:\n{log.read_text(errors='replace')[-2000:]}")
        await _ready(found[1])
        yield Engine(url=found[1], key=key, family=Family(process.pid))


async def _ready(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        for _ in range(int(_READY_S * 10)):
            answer = await http.get("/readyz")
            if answer.status_code == 200:
                return
            await until(lambda: False, 0.1)
    raise LoadFailed(f"The engine is not ready after {_READY_S:g} s: {answer.text}")


async def lines_in_use(http: httpx.AsyncClient) -> int:
    """The lines in use from the engine's readiness; -1 when it does not answer."""
    try:
        checks = (await http.get("/readyz")).json().get("checks", {})
    except httpx.HTTPError:
        return -1
    found = re.match(r"(\d+) of", checks.get("lines", ""))
    return int(found[1]) if found else -1
