"""Breaks one thing after another under live AI calls, and counts what was lost. `make chaos` runs it.

After each break: every call that was ever accepted is either live or final with a cause, those that the break does not
concern go on, and a new call goes through. At the end every call is final and its last webhook has come.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox import SimulatedUltravox
from tests.engine.webhooks.receiver import Received, Receiver
from tests.sip.peers import PASSWORD, USERNAME, SippUas
from tests.sip.ports import port_block
from tests.sip.server import ServerProcess

API_KEY: Final = "ultravox-key-of-the-chaos"
CALL: Final = {"from": "+15557654321", "to": "+15551234567", "systemPrompt": "Be brief.", "maxDuration": "1800s"}
SETTLES_S: Final = 30
_DISK_BYTES: Final = 32 << 20
_LOG_TAIL: Final = 6000
_SILENT: Final = Dialogue(agent=(), callee=())
FINAL: Final = ("completed", "failed")


class Trunk(SippUas):
    """An echoing callee that can be started again where it was."""

    def __init__(self, port: int = 0) -> None:
        super().__init__("uas-answers-and-echoes-rtp", rtp_echo=True)
        self._old_port = port

    def _command(self) -> list[str]:
        command = super()._command()
        if self._old_port:
            self.port = self._old_port
            command[command.index("-p") + 1] = str(self.port)
        return command


class Lost(AssertionError):
    """What was lost, in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one break did: to how many live calls, why the ended ones ended, and how many went on."""

    done: str
    live_before: int
    ended: Counter[str]
    live_after: int

    def __str__(self) -> str:
        causes = ", ".join(f"{count} {cause}" for cause, count in sorted(self.ended.items())) or "none"
        return f"{self.done}: {self.live_before} live calls, ended {causes}, {self.live_after} went on; lost: nothing"


class Chaos:
    """The engine as a process of its own, between a trunk, a registrar and an agent service that can be broken."""

    def __init__(self, server: ServerProcess, trunk: Trunk, ultravox: SimulatedUltravox, calls: int) -> None:
        self.server = server
        self.trunk = trunk
        self.ultravox = ultravox
        self.receiver = Receiver(self._receive)
        self.accepted: set[str] = set()
        self._finals: Counter[str] = Counter()
        self._calls = calls

    def _receive(self, request: Received) -> int:
        self._finals[request.event["data"]["id"]] += 1
        return 204

    async def run(self, breaks: Sequence[Callable[[Chaos], Awaitable[str]]]) -> AsyncIterator[Report]:
        """One break after the other; raises ``Lost``."""
        hook = {"url": f"http://127.0.0.1:{self.receiver.port}/", "events": ["voice.completed", "voice.failed"]}
        assert (await self.server.client.post("/api/webhooks", json=hook)).status_code == 200
        for breaks_something in breaks:
            before = await self._fill()
            done = await breaks_something(self)
            after = await self._live(before, settled=True)
            ended = Counter([(await self.server.get(call))["ended"]["cause"] for call in before - after])
            await self._prove_a_call()
            yield Report(done=done, live_before=len(before), ended=ended, live_after=len(after))
        await self._finish()

    async def place(self) -> str:
        """An AI call that was accepted, remembered."""
        call = await self.server.place(**CALL)
        self.accepted.add(call)
        return call

    async def live(self) -> set[str]:
        """The accepted calls that are not final."""
        return await self._live(self.accepted, settled=False)

    def pids(self, title: str) -> list[int]:
        """The server's own processes of that kind, the youngest last."""
        return sorted(pid for pid, name in _descendants(self.server.pid) if name.startswith(f"trunkline: {title}"))

    async def _fill(self) -> set[str]:
        """As many live calls as wanted, each with its agent; all of them."""
        live = await self.live()
        live |= {await self.place() for _ in range(self._calls - len(live))}
        for call in live:
            await self._until(call, lambda record: record["ai"]["status"] == "active", "has its agent")
        return live

    async def _until(self, call: str, holds: Callable[[dict[str, Any]], bool], what: str) -> None:
        try:
            async with asyncio.timeout(SETTLES_S):
                while not holds(record := await self.server.get(call)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Lost(f"call {call} never {what}: {record}") from None

    async def _live(self, calls: set[str], *, settled: bool) -> set[str]:
        """Those that go on; ``settled``: each of them is heard by its agent, within time, or is final."""
        on: set[str] = set()
        for call in calls:
            record = await self.server.get(call)
            if "status" not in record:
                raise Lost(f"call {call} was accepted and is not known any more")
            if record["status"] not in FINAL:
                on.add(call)
            elif not record.get("ended", {}).get("cause"):
                raise Lost(f"call {call} ended without a cause")
        if settled:
            await self._hear(on)
        return on

    async def _hear(self, calls: set[str]) -> None:
        """Each call's agent still gets audio."""
        sessions = {(await self.server.get(call))["callId"]: call for call in calls}
        heard = self._audio()
        await asyncio.sleep(0.5)
        more = self._audio()
        if silent := len(sessions) - sum(more[call] > heard.get(call, 0) for call in more):
            raise Lost(f"{silent} live calls carry no audio any more")

    def _audio(self) -> dict[str, float]:
        live = (call for call in self.ultravox.calls.values() if call.conversation is not None and call.ended is None)
        return {call.call_id: call.conversation.audio.received_s for call in live if call.conversation}

    async def _prove_a_call(self) -> None:
        call = await self.place()
        await self.server.until(call, "answered", within_s=SETTLES_S)
        await self.server.client.delete(f"/api/voice/{call}")
        record = await self.server.until(call, *FINAL, within_s=SETTLES_S)
        if record["ended"]["cause"] != "caller-hangup":
            raise Lost(f"a new call ended with {record['ended']}")

    async def _finish(self) -> None:
        for call in await self.live():
            await self.server.client.delete(f"/api/voice/{call}")
        try:
            async with asyncio.timeout(SETTLES_S):
                while await self.live() or self.accepted - self._finals.keys():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            missing = len(self.accepted - self._finals.keys())
            raise Lost(f"{len(await self.live())} calls never ended, {missing} last webhooks never came") from None


# -- breaks ------------------------------------------------------------------------------------------------------------


async def kill_a_worker(chaos: Chaos) -> str:
    os.kill(chaos.pids("worker")[0], signal.SIGKILL)
    await _until(chaos, lambda causes: "worker-lost" in causes)
    return "kill -9 of a worker"


async def kill_the_registrar(chaos: Chaos) -> str:
    [pid] = chaos.pids("registrar")
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(SETTLES_S):
        while chaos.pids("registrar") in ([], [pid]):
            await asyncio.sleep(0.05)
    return "kill -9 of the registrar"


async def kill_the_nursery(chaos: Chaos) -> str:
    for pid in chaos.pids("nursery"):
        os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(1)
    return "kill -9 of the nursery"


async def kill_the_control_process(chaos: Chaos) -> str:
    await chaos.server.kill()
    await chaos.server.start()
    return "kill -9 of the control process, and a new start"


async def restart_the_trunk(chaos: Chaos) -> str:
    port = chaos.trunk.port
    await asyncio.to_thread(chaos.trunk.stop)
    refused = await chaos.place()
    await asyncio.sleep(2)
    chaos.trunk = Trunk(port)
    await asyncio.to_thread(chaos.trunk.start)
    await chaos.server.until(refused, *FINAL, "answered", within_s=SETTLES_S)
    for call in await chaos.live():  # the trunk that came back knows nothing of them
        await chaos.server.client.delete(f"/api/voice/{call}")
    async with asyncio.timeout(SETTLES_S):
        while await chaos.live():
            await asyncio.sleep(0.1)
    return "the trunk stopped and started again"


async def cut_the_agent_service(chaos: Chaos) -> str:
    old = chaos.ultravox
    port = int(old.base_url.rpartition(":")[2])
    for agent_socket in old._sockets:
        assert agent_socket._transport is not None
        agent_socket._transport.abort()
    await old.__aexit__(None, None, None)
    await _until(chaos, lambda causes: causes["agent-lost"] > 0, every=True)
    chaos.ultravox = _ultravox(port)
    await chaos.ultravox.__aenter__()
    return "Ultravox cut off and back"


async def fill_the_disk(chaos: Chaos) -> str:
    ballast = chaos.server.folder / "ballast"
    with closing(sqlite3.connect(chaos.server.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is free in the journal would be written to first
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    refused = [await chaos.server.client.post("/api/voice", json=CALL) for _ in range(3)]
    if not any(response.status_code == 503 for response in refused):
        raise Lost(f"calls were accepted on a full disk: {[response.status_code for response in refused]}")
    chaos.accepted |= {response.json()["id"] for response in refused if response.status_code == 200}
    hung_up = next(iter(await chaos.live()))
    await chaos.server.client.delete(f"/api/voice/{hung_up}")
    await asyncio.sleep(1)
    ballast.unlink()
    await chaos.server.until(hung_up, *FINAL, within_s=SETTLES_S)
    return "the disk full, and room again"


BREAKS: Final = (
    kill_a_worker,
    kill_the_registrar,
    kill_the_nursery,
    cut_the_agent_service,
    fill_the_disk,
    kill_the_control_process,
    restart_the_trunk,
)


async def _until(chaos: Chaos, holds: Callable[[Counter[str]], bool], *, every: bool = False) -> None:
    """Returns when the causes of the ended calls are so, and with ``every`` no call is live."""
    async with asyncio.timeout(SETTLES_S):
        while True:
            records = [await chaos.server.get(call) for call in chaos.accepted]
            causes = Counter(record["ended"]["cause"] for record in records if record["status"] in FINAL)
            if holds(causes) and not (every and any(record["status"] not in FINAL for record in records)):
                return
            await asyncio.sleep(0.1)


# -- the stage ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def stage(calls: int) -> AsyncIterator[Chaos]:
    """Everything started, the store on a small disk of its own where that may be mounted."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
        if small_disk(folder):
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=False)
        base = stack.enter_context(port_block()).getsockname()[1]
        trunk = Trunk()
        await asyncio.to_thread(trunk.start)
        registrar = await stack.enter_async_context(SippUas("registrar-200"))
        ultravox = _ultravox()
        await ultravox.__aenter__()
        server = ServerProcess(folder, _settings(base, trunk, registrar, ultravox, calls), live=True)
        chaos = Chaos(server, trunk, ultravox, calls)
        stack.push_async_callback(lambda: chaos.ultravox.__aexit__(None, None, None))
        stack.callback(lambda: chaos.trunk.stop())
        await stack.enter_async_context(chaos.receiver.listening())
        await stack.enter_async_context(server)
        try:
            yield chaos
        except BaseException:
            print(server.log[-_LOG_TAIL:], file=sys.stderr, flush=True)
            raise
        server.signal(signal.SIGTERM)
        if code := await server.exit_code():
            raise Lost(f"the server ended with {code}")


def small_disk(folder: Path) -> bool:
    """Whether a small tmpfs could be mounted there: as root."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _ultravox(port: int = 0) -> SimulatedUltravox:
    return SimulatedUltravox(port=port, api_key=API_KEY, dialogue=_SILENT)


def _settings(base: int, trunk: Trunk, registrar: SippUas, ultravox: SimulatedUltravox, calls: int) -> str:
    return f"""
[sip]
bind = "127.0.0.1"
port = {base + 1}
worker_ports = "{base + 2}-{base + 60}"
rtp_ports = "{base + 100}-{base + 999}"
max_calls = {calls + 10}
ring_timeout = "8s"
drain_timeout = "1s"
[[trunks]]
name = "main"
uri = "{trunk.uri}"
[[trunks]]
name = "registered"
uri = "{registrar.uri}"
registrar = "{registrar.uri}"
username = "{USERNAME}"
password = "{PASSWORD}"
[ultravox]
api_key = "{API_KEY}"
base_url = "{ultravox.base_url}"
"""


def _descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Pid and title of every process below ``pid``."""
    parents: dict[int, tuple[int, str]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            parents[int(process.name)] = parent, (process / "cmdline").read_bytes().rstrip(b"\0").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
    below = {pid}
    while grown := {child for child, (parent, _) in parents.items() if parent in below} - below:
        below |= grown
    return ((child, parents[child][1]) for child in below - {pid})


async def main(calls: int) -> None:
    breaks = list(BREAKS)
    async with stage(calls) as chaos:
        if not chaos.server.folder.is_mount():
            breaks.remove(fill_the_disk)
            print("NOT DONE: the full disk; mounting a small tmpfs needs root", flush=True)
        async for report in chaos.run(breaks):
            print(report, flush=True)
        print(f"{len(chaos.accepted)} calls accepted, {len(chaos.accepted)} final with a cause and told by webhook")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--calls", type=int, default=30)
    try:
        asyncio.run(main(arguments.parse_args().calls))
    except Lost as lost:
        sys.exit(f"LOST: {lost}")
