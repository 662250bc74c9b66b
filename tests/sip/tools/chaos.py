"""Breaks one thing after another under live AI calls, and counts what was lost. `make chaos` runs it.

After each break: every call that was ever accepted is either live or final with a cause, those that go on carry audio,
and a new call goes through. At the end every call is final and its last webhook has come.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from api.load.processes import descendants, kind_of
from engine.sandbox.ultravox.server_messages import Cut
from tests.sip.stage import FINAL, SETTLES_S, Lost, Stage, Trunk, simulated_ultravox, stage

CALL: Final = {"from": "+15557654321", "to": "+15551234567", "systemPrompt": "Be brief.", "maxDuration": "1800s"}
ANSWERS: Final = "uas-answers-and-echoes-rtp"
_DISK_BYTES: Final = 32 << 20
_SPARE_LINES: Final = 10

Record = dict[str, Any]


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
    """Keeps ``calls`` calls live on a stage, and after each break looks for what was lost. Anything raises ``Lost``."""

    def __init__(self, on: Stage, calls: int) -> None:
        self.stage = on
        self._calls = calls

    async def run(self, breaks: Sequence[Break]) -> AsyncIterator[Report]:
        """One break after the other, told of when it is over."""
        for breaks_something in breaks:
            before = await self.fill()
            done = await breaks_something(self)
            await self.hear()
            records = await self.records(self.stage.accepted)
            live = {call for call, record in records.items() if record["status"] not in FINAL}
            await self._prove_a_call()
            ended = Counter(records[call]["ended"]["cause"] for call in before - live)
            yield Report(done=done, live_before=len(before), ended=ended, live_after=len(before & live))
        for call in await self.live():
            await self.stage.hang_up(call)
        await self.stage.until_told(self.stage.accepted)
        await self.until_ended(self.stage.accepted)

    async def records(self, calls: Iterable[str]) -> dict[str, Record]:
        """As GET shows them: none is unknown, and none ended without a cause."""
        records = {call: await self.stage.server.get(call) for call in calls}
        for call, record in records.items():
            if "status" not in record:
                raise Lost(f"call {call} was accepted and is not known any more")
            if record["status"] in FINAL and not record.get("ended", {}).get("cause"):
                raise Lost(f"call {call} ended without a cause")
        return records

    async def live(self) -> set[str]:
        """The calls whose end nobody has told yet."""
        records = await self.records(self.stage.accepted - self.stage.told.keys())
        return {call for call, record in records.items() if record["status"] not in FINAL}

    async def until_ended(self, calls: set[str]) -> None:
        """Returns when none of them is live."""

        async def ended() -> bool:
            return not calls & await self.live()

        await until(ended, "the calls ended")

    async def until_reborn(self, kind: str) -> None:
        """Returns when there is a process of that kind; the killed is none any more."""

        async def there() -> bool:
            return bool(self.pids(kind))

        await until(there, f"there was a {kind} again")

    def pids(self, kind: str) -> set[int]:
        """The server's living child processes of that kind; those of a fork server that died are not found."""
        return {pid for pid in descendants(self.stage.server.pid) if kind_of(pid) == kind}

    async def end(self, kind: str, number: int) -> None:
        """Send the signal to the eldest process of that kind, and wait for that process's end."""
        pid = min(self.pids(kind))
        os.kill(pid, number)

        async def gone() -> bool:
            return pid not in self.pids(kind)

        await until(gone, f"the {kind} ended")

    async def fill(self) -> set[str]:
        """Has as many live calls as wanted, each with its agent; all of them."""
        live = await self.live()
        live |= {await self.stage.place(**CALL) for _ in range(self._calls - len(live))}

        async def talking() -> bool:
            return all(record["ai"]["status"] == "active" for record in (await self.records(live)).values())

        await until(talking, "every call had its agent")
        return live

    async def hear(self) -> None:
        """The agent of each call that is still live gets audio."""
        before = self._heard_s()

        async def all_heard() -> bool:
            heard = [session for session, now_s in self._heard_s().items() if now_s > before.get(session, 0.0)]
            return len(heard) >= len(await self.live())

        await until(all_heard, "every live call carried audio")

    def _heard_s(self) -> dict[str, float]:
        calls = (call for call in self.stage.ultravox.account.calls.values() if call.ended is None)
        return {call.call_id: call.conversation.audio.received_s for call in calls if call.conversation}

    async def _prove_a_call(self) -> None:
        call = await self.stage.place(**CALL)
        record = await self.stage.server.until(call, "answered", *FINAL, within_s=SETTLES_S)
        await self.stage.hang_up(call)
        if record["status"] != "answered":
            raise Lost(f"a new call ended with {record['ended']}")
        await self.until_ended({call})


Break = Callable[[Chaos], Awaitable[str]]


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Raises ``Lost`` when it does not come to hold in time."""
    try:
        async with asyncio.timeout(SETTLES_S):
            while not await holds():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Lost(f"it did not happen within {SETTLES_S} s that {what}") from None


# -- breaks ------------------------------------------------------------------------------------------------------------


async def kill_a_worker(chaos: Chaos) -> str:
    await chaos.end("worker", signal.SIGKILL)
    return "kill -9 of a worker"


async def stop_a_worker(chaos: Chaos) -> str:
    """It is there and does nothing: the watchdog has to find out."""
    await chaos.end("worker", signal.SIGSTOP)
    return "a worker that hangs (SIGSTOP)"


async def kill_the_registrar(chaos: Chaos) -> str:
    await chaos.end("registrar", signal.SIGKILL)
    await chaos.until_reborn("registrar")
    return "kill -9 of the registrar"


async def kill_the_fork_server(chaos: Chaos) -> str:
    """Nobody misses it before a process is to be born, so more workers are killed than there are warm lines for."""
    workers = sorted(chaos.pids("worker"))[:2]
    await chaos.end("fork-server", signal.SIGKILL)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    await chaos.hear()
    await chaos.fill()
    await chaos.until_reborn("fork-server")
    return "kill -9 of the fork server, and of two workers"


async def kill_the_control_process(chaos: Chaos) -> str:
    await chaos.stage.server.kill()
    await chaos.stage.server.start()
    return "kill -9 of the control process, and a new start"


async def restart_the_trunk(chaos: Chaos) -> str:
    """The trunk that comes back knows nothing of its calls."""
    [(caller, old)] = chaos.stage.trunks.items()
    await asyncio.to_thread(old.stop)
    refused = await chaos.stage.place(**CALL)
    await chaos.stage.server.until(refused, *FINAL, within_s=SETTLES_S)
    chaos.stage.trunks[caller] = Trunk(ANSWERS, rtp_echo=True, port=old.port)
    await asyncio.to_thread(chaos.stage.trunks[caller].start)
    live = await chaos.live()
    for call in live:
        await chaos.stage.hang_up(call)
    await chaos.until_ended(live)
    return "the trunk stopped and started again"


async def cut_the_agent_service(chaos: Chaos) -> str:
    old = chaos.stage.ultravox
    port = int(old.base_url.rpartition(":")[2])
    live = await chaos.live()
    for conversation in old.account.conversations:
        conversation.messages.put(Cut())
    await chaos.until_ended(live)
    await old.__aexit__(None, None, None)
    refused = await chaos.stage.place(**CALL)
    await chaos.until_ended({refused})
    chaos.stage.ultravox = simulated_ultravox(port=port)
    await chaos.stage.ultravox.__aenter__()
    return "Ultravox cut off and back"


async def fill_the_disk(chaos: Chaos) -> str:
    """Calls are refused; those that are live go on and can be hung up, and their records are written later."""
    server = chaos.stage.server
    with closing(sqlite3.connect(server.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is free in the journal would be written to first
    ballast = server.folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    answers = [await server.client.post("/api/voice", json=CALL) for _ in range(3)]
    chaos.stage.accepted |= {answer.json()["id"] for answer in answers if answer.status_code == 200}
    if answers[-1].status_code != 503:
        raise Lost(f"a call was accepted on a full disk: {answers[-1].text}")
    hung_up = next(iter(await chaos.live()))
    await chaos.stage.hang_up(hung_up)
    ballast.unlink()
    await chaos.until_ended({hung_up})
    return "the disk full, and room again"


BREAKS: Final = (
    kill_a_worker,
    stop_a_worker,
    kill_the_registrar,
    kill_the_fork_server,
    cut_the_agent_service,
    fill_the_disk,
    kill_the_control_process,
    restart_the_trunk,
)


async def chaos(calls: int) -> AsyncIterator[str]:
    """Every break with so many live calls, a line for each; raises ``Lost``."""
    trunk = Trunk(ANSWERS, rtp_echo=True)
    async with stage({CALL["from"]: trunk}, max_calls=calls + _SPARE_LINES, small_disk_bytes=_DISK_BYTES) as on:
        breaks = list(BREAKS)
        if not on.server.folder.is_mount():
            breaks.remove(fill_the_disk)
            yield "NOT DONE: the disk full; a small disk cannot be mounted here, it takes root"
        async for report in Chaos(on, calls).run(breaks):
            yield str(report)
        yield f"{len(on.accepted)} calls were accepted; each is final with a cause and a webhook reported it"


async def main(calls: int) -> None:
    async for line in chaos(calls):
        print(line, flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--calls", type=int, default=30)
    try:
        asyncio.run(main(arguments.parse_args().calls))
    except Lost as lost:
        sys.exit(f"LOST: {lost}")
    except KeyboardInterrupt:
        sys.exit(130)
