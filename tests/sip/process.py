"""One foreign program run beside a test: started until it is ready, stopped whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Self

import pytest

from tests.sip import matrix

_ATTEMPTS = 5
_START_S = 30.0
_STOP_S = 3.0
_WORKERS = 8
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_PORTS = range(20_000 + 4 * _WORKER, 32_000, 4 * _WORKERS)
_NEXT_PORTS = itertools.cycle(_PORTS)
for _ in range(random.SystemRandom().randrange(len(_PORTS))):  # another run on this machine must differ
    next(_NEXT_PORTS)


class PeerFailed(AssertionError):
    """The program did not start or ended early; what it printed is in the message."""


def free_port(*, streams: bool = False, pair: bool = False) -> int:
    """A loopback port that was free just now, for TCP too with ``streams``, with the three after it for ``pair``.

    Outside the range from which the kernel serves port 0, and another test process of this run has others: only a peer
    of another run could take it meanwhile.
    """
    kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM) if streams else (socket.SOCK_DGRAM,)
    while True:
        port = next(_NEXT_PORTS)
        try:
            for offset in range(4 if pair else 1):
                for kind in kinds:
                    with socket.socket(socket.AF_INET, kind) as probe:
                        probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port


def listens(port: int, *, protocol: str = "udp") -> bool:
    """Somebody has bound that loopback port. Looks it up, so that the program about to bind it is not disturbed."""
    local = f" 0100007F:{port:04X} "
    return any(local in line for line in Path(f"/proc/net/{protocol}").read_text().splitlines())


class Peer:
    """A program in its own directory; a context manager, for ``with`` and ``async with``.

    A subclass picks its ports and builds its command in ``_prepare``, again for each attempt.
    """

    program: ClassVar[str]

    def __init__(self) -> None:
        self.port = 0
        """Where it speaks SIP, on 127.0.0.1."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"sip:127.0.0.1:{self.port}"

    @property
    def directory(self) -> Path:
        return Path(self._directory.name)

    @property
    def output(self) -> str:
        """What it has printed since it was started."""
        return (self.directory / "output").read_text(errors="replace")

    def start(self) -> None:
        """Returns when it is ready to be called; raises ``PeerFailed``. Skips the test where the program is not
        installed, unless ``REQUIRE_SIP`` is set."""
        if shutil.which(self.program) is None:
            message = f"{self.program} is not installed"
            if os.environ.get("REQUIRE_SIP"):
                raise PeerFailed(message)
            pytest.skip(message)
        self._directory = TemporaryDirectory(prefix="peer-")
        try:
            for attempt in range(_ATTEMPTS):
                if self._launch(self._prepare()):
                    return
                if attempt + 1 == _ATTEMPTS or not self._lost_a_port():
                    raise PeerFailed(f"{self.program} did not start:\n{self.output[-4000:]}")
                self._forget_attempt()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the program, by force when it lingers, and removes its directory."""
        if self._process:
            self._end_process()
            self._keep()
        self._directory.cleanup()

    def _end_process(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # its children too
            self._process.wait()
        self._process = None

    def _prepare(self) -> Sequence[str]:
        """Choose ports, write files; the command to run in ``directory``."""
        raise NotImplementedError

    def _ready(self) -> bool:
        return listens(self.port)

    def _keep(self) -> None:
        """Called when the program has ended and its files are about to go."""
        matrix.runs.append(matrix.Run(far_end=self.program))

    def _launch(self, command: Sequence[str]) -> bool:
        with (self.directory / "output").open("wb") as output:
            # setpriv: a test run that is killed takes its peers along.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                env={**os.environ, "TERM": "dumb"},
            )
        deadline_s = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < deadline_s:
            if self._ready():
                return True
            time.sleep(0.01)
        return False

    def _forget_attempt(self) -> None:
        """What the attempt wrote must not be taken for the next one's."""
        self._end_process()
        for file in self.directory.iterdir():
            file.unlink()

    def _lost_a_port(self) -> bool:
        return any(words in self.output.lower() for words in ("already in use", "unable to bind", "could not bind"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await asyncio.to_thread(self.stop)


async def wait_until(holds: Callable[[], bool], what: str, *, within_s: float = 30) -> None:
    """Raises ``TimeoutError`` naming ``what`` when it does not come to hold."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {within_s} s")
        await asyncio.sleep(0.01)
