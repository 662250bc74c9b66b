"""The programs that the load kit starts: their output goes to a folder, and they end when the kit ends or dies."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from engine.errors import TrunklineError

_STOP_S: Final = 15.0
_PR_SET_PDEATHSIG: Final = 1
_FAR_END_NICE: Final = -20
_ROOT: Final = str(Path(__file__).parents[2])
"""The folder of our own packages: the child must run the same code."""
_libc: Any = ctypes.CDLL(None)


class LoadFailed(TrunklineError):
    """The run cannot go on; the text says what happened and what to do."""


@asynccontextmanager
async def child(
    command: Sequence[str], folder: Path, name: str, *, far_end: bool = False, ask: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program while the block runs. Its stderr, and its stdout unless ``ask``, go to ``folder/name.log``.

    ``ask``: stdin and stdout are pipes. ``far_end``: it has priority when the CPU is short, if we may set that, because
    a real far end is another machine. At the end of the block it gets TERM, and KILL after 15 s.
    Raises ``LoadFailed`` when there is no such program.
    """
    with (folder / f"{name}.log").open("wb") as log:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env={**os.environ, "PYTHONPATH": _ROOT, "TERM": "dumb"},
                stdin=asyncio.subprocess.PIPE if ask else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if ask else log,
                stderr=log,
                preexec_fn=partial(_prepare, far_end),
            )
        except FileNotFoundError:
            raise LoadFailed(f"{command[0]} is not installed.") from None
    try:
        yield process
    finally:
        if process.returncode is None:
            # Not process.terminate(), which may reap it before asyncio does.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules."""
    return [sys.executable, "-P", "-m", module, *arguments]


def _prepare(far_end: bool) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if far_end:
        with contextlib.suppress(PermissionError):
            os.nice(_FAR_END_NICE)


class Peer:
    """A process that reports facts as lines of JSON on stdout and ends when its stdin closes."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.latest: dict[str, Any] = {}
        """Every fact reported so far; the newest value of each name."""
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def first(self, settings: object = None) -> dict[str, Any]:
        """Send the process its settings, if any; returns its first line. Raises ``LoadFailed`` when none comes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if settings is not None:
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise LoadFailed(f"A process of the load kit did not start:\n{self._log.read_text()[-2000:]}")
        self._reading = asyncio.create_task(self._read())
        return dict(json.loads(line))

    async def finish(self) -> dict[str, Any]:
        """Have the process end; returns every fact that it reported."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._reading is not None:
            await self._reading
        return self.latest

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.latest.update(json.loads(line))


async def until(holds: Callable[[], bool], within_s: float) -> bool:
    """Wait until ``holds`` is true, ``within_s`` at most; returns whether it is."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.02)
    return holds()
