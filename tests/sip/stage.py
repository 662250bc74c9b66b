"""A whole ``trunkline serve`` between a trunk, a registrar, Ultravox and a webhook receiver, for what takes long."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox import Conversation, SimulatedUltravox
from tests.engine.webhooks.receiver import Received, Receiver
from tests.sip.peers import PASSWORD, USERNAME, SippUas
from tests.sip.ports import PORTS_IN_BLOCK, port_block
from tests.sip.server import ServerProcess

FINAL: Final = ("completed", "failed")
SETTLES_S: Final = 30
API_KEY: Final = "ultravox-key-of-the-stage"
_LOG_TAIL: Final = 6000


class Lost(AssertionError):
    """What was lost, in a sentence."""


class Trunk(SippUas):
    """A far end for thousands of calls: without a trace of its messages."""

    def _command(self) -> list[str]:
        command = super()._command()
        trace = command.index("-trace_msg")
        return [*command[:trace], *command[trace + 3 :]]


class Stage:
    """Places calls, and remembers which were accepted and which the webhook told the end of."""

    def __init__(
        self, server: ServerProcess, trunks: Mapping[str, Trunk], ultravox: SimulatedUltravox, ports: range
    ) -> None:
        self.server = server
        self.trunks = dict(trunks)
        self.ultravox = ultravox
        self.ports = ports
        """All that the engine may use for SIP and RTP."""
        self.receiver = Receiver(self._receive)
        self.accepted: set[str] = set()
        self.told: dict[str, dict[str, Any]] = {}
        """The final records, by call, as the webhook had them."""
        self._news = asyncio.Event()

    def _receive(self, request: Received) -> int:
        self.receiver.received.clear()
        call = request.event["data"]
        if call["status"] in FINAL:
            self.told[call["id"]] = call
        self._news.set()
        self._news = asyncio.Event()
        return 204

    def stop_trunks(self) -> None:
        """Those that there are by now."""
        for trunk in self.trunks.values():
            trunk.stop()

    async def place(self, **body: Any) -> str:
        """An accepted call."""
        call = await self.server.place(**body)
        self.accepted.add(call)
        return call

    async def hang_up(self, call: str) -> None:
        """DELETE."""
        await self.server.client.delete(f"/api/voice/{call}")

    async def until_told(self, calls: Collection[str], *, within_s: float = SETTLES_S) -> None:
        """Returns when the webhook had the end of each of them; raises ``Lost``."""
        try:
            async with asyncio.timeout(within_s):
                while not self.told.keys() >= set(calls):
                    await self._news.wait()
        except TimeoutError:
            missing = set(calls) - self.told.keys()
            raise Lost(f"no webhook told the end of {len(missing)} of {len(calls)} calls: {missing}") from None


@asynccontextmanager
async def stage(
    trunks: Mapping[str, Trunk],
    *,
    max_calls: int,
    small_disk_bytes: int = 0,
    ring_timeout: str = "8s",
    on_join: Callable[[Conversation, Any], None] | None = None,
) -> AsyncIterator[Stage]:
    """Everything started; ``trunks`` by the ``from`` number whose calls they get.

    The store is on a disk of its own of so many bytes where one may be mounted. Ends the server by SIGTERM and raises
    ``Lost`` when that does not go well.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="stage-")))
        if small_disk_bytes and mount(folder, small_disk_bytes):
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=False)
        base = stack.enter_context(port_block()).getsockname()[1]
        ports = range(base + 1, base + PORTS_IN_BLOCK)
        for trunk in trunks.values():
            await asyncio.to_thread(trunk.start)
        registrar = await stack.enter_async_context(SippUas("registrar-200"))
        ultravox = simulated_ultravox(on_join=on_join)
        await ultravox.__aenter__()
        settings = _settings(ports, trunks, registrar, ultravox, max_calls=max_calls, ring_timeout=ring_timeout)
        server = ServerProcess(folder, settings, live=True)
        staged = Stage(server, trunks, ultravox, ports)
        stack.push_async_exit(lambda *failure: staged.ultravox.__aexit__(*failure))
        stack.callback(staged.stop_trunks)
        await stack.enter_async_context(staged.receiver.listening())
        await stack.enter_async_context(server)
        hook = {"url": f"http://127.0.0.1:{staged.receiver.port}/", "events": ["voice.*"]}
        assert (await server.client.post("/api/webhooks", json=hook)).status_code == 200
        try:
            yield staged
        except BaseException:
            print(server.log[-_LOG_TAIL:], file=sys.stderr, flush=True)
            raise
        server.signal(signal.SIGTERM)
        if code := await server.exit_code(within_s=60):
            raise Lost(f"the server ended with {code}")


def simulated_ultravox(
    *, port: int = 0, on_join: Callable[[Conversation, Any], None] | None = None
) -> SimulatedUltravox:
    """Its agents say nothing by themselves."""
    silent = Dialogue(agent=(), callee=())
    return SimulatedUltravox(port=port, api_key=API_KEY, dialogue=silent, on_join=on_join)


def mount(folder: Path, size: int) -> bool:
    """Whether a disk in memory could be mounted there: as root."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def _settings(
    ports: range,
    trunks: Mapping[str, Trunk],
    registrar: SippUas,
    ultravox: SimulatedUltravox,
    *,
    max_calls: int,
    ring_timeout: str,
) -> str:
    trunk = '[[trunks]]\nname = "{}"\nuri = "{}"\ncallers = ["{}"]\n'
    return f"""
[sip]
bind = "127.0.0.1"
port = {ports[0]}
rtp_ports = "{ports[99]}-{ports[-1]}"
max_calls = {max_calls}
ring_timeout = "{ring_timeout}"
drain_timeout = "1s"
[ultravox]
api_key = "{API_KEY}"
base_url = "{ultravox.base_url}"
{"".join(trunk.format(number, far_end.uri, caller) for number, (caller, far_end) in enumerate(trunks.items()))}
[[trunks]]
name = "registered"
uri = "{registrar.uri}"
registrar = "{registrar.uri}"
username = "{USERNAME}"
password = "{PASSWORD}"
callers = ["+15550000000"]
"""
