"""Calls come and go for a long time, most of them badly, and then everything must be as before. `make soak` runs it.

What is a leak, after a warm-up: a process, descriptor, port or line that is held when all calls have ended and was not
before them; a call whose end no webhook told, or told with another cause than its kind of call has; a delivery that is
still pending; and memory that grows. Growth is that of the private memory of the control process and of the workers
that were there all the time, by a line fitted through the samples: more than ``TOLERATED_BYTES`` a call, and more than
``NOISE_KB`` in one process, for that much comes and goes by itself. So two minutes show large leaks only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression
from typing import Any, Final

from api.load.processes import Family, kind_of
from engine.sandbox.ultravox import Conversation
from engine.sandbox.ultravox.server_messages import Cut
from tests.sip.leftovers import bound_ports
from tests.sip.stage import SETTLES_S, Lost, Stage, Trunk, stage

TOLERATED_BYTES: Final = 1024
NOISE_KB: Final = {"control": 4096, "worker": 8192}
"""SQLite's page cache; in a worker what waits for Python's collector (20,000 objects) and for timers of SIP (32 s)."""
SAMPLE_S: Final = 10.0
_WARM_UP_S: Final = 20.0
_MAX_CALLS: Final = 100
"""So many that a worker holds sixteen."""
_READERS: Final = 2
_KEPT_S: Final = 6.0
"""A connection that was idle for five seconds is closed when the next one is asked for, not before."""
_IDLE_S: Final = 90.0
"""An idle worker is let go after a minute."""
TO: Final = "+15551234567"
HANGS_UP: Final = "You hang up."
VANISHES: Final = "Your connection breaks."


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way for a call to go, ``share`` in a hundred: hung up after a time between these, if at all."""

    share: int
    trunk: str
    causes: frozenset[str]
    prompt: str = ""
    hang_up_s: tuple[float, float] | None = None
    max_duration: str = "60s"


ANSWERS, BUSY, DECLINES, FAILS, RINGS, BYES = (f"+1555765430{number}" for number in range(6))
FAR_ENDS: Final = {
    ANSWERS: "uas-answers-and-echoes-rtp",
    BUSY: "uas-busy-486",
    DECLINES: "uas-declines-603",
    FAILS: "uas-unavailable-503-without-retry-after",
    RINGS: "uas-rings-forever",
    BYES: "uas-answers-then-byes",
}
_HUNG_UP: Final = frozenset({"caller-hangup"})
_ANY_PHASE: Final = frozenset({"caller-hangup", "canceled"})
KINDS: Final = {
    "plain, hung up": Kind(share=20, trunk=ANSWERS, causes=_HUNG_UP, hang_up_s=(1.0, 3.0)),
    "AI, hung up": Kind(share=10, trunk=ANSWERS, prompt="Listen.", causes=_HUNG_UP, hang_up_s=(2.0, 4.0)),
    "AI, hung up in any phase": Kind(
        share=15, trunk=ANSWERS, prompt="Listen.", causes=_ANY_PHASE, hang_up_s=(0.0, 0.6)
    ),
    "plain, hung up at once": Kind(share=0, trunk=ANSWERS, causes=_ANY_PHASE, hang_up_s=(0.2, 0.3)),
    "AI, agent hangs up": Kind(share=12, trunk=ANSWERS, prompt=HANGS_UP, causes=frozenset({"agent-hangup"})),
    "AI, agent lost": Kind(share=5, trunk=ANSWERS, prompt=VANISHES, causes=frozenset({"agent-lost"})),
    "AI, callee hangs up": Kind(share=8, trunk=BYES, prompt="Listen.", causes=frozenset({"callee-hangup"})),
    "plain, longest duration": Kind(share=5, trunk=ANSWERS, causes=frozenset({"max-duration"}), max_duration="1s"),
    "busy": Kind(share=8, trunk=BUSY, causes=frozenset({"busy"})),
    "declined": Kind(share=5, trunk=DECLINES, causes=frozenset({"rejected"})),
    "trunk fails": Kind(share=5, trunk=FAILS, causes=frozenset({"trunk-unavailable"})),
    "AI, no answer": Kind(share=3, trunk=RINGS, prompt="Listen.", causes=frozenset({"no-answer"})),
    "hung up while it rings": Kind(share=4, trunk=RINGS, causes=frozenset({"canceled"}), hang_up_s=(0.3, 1.5)),
}
ALONE: Final = "AI, agent hangs up"
ONE_BY_ONE: Final = ("AI, hung up in any phase", "plain, hung up at once", "AI, agent hangs up", "busy")
"""The brief ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the server holds at a moment."""

    at_s: float
    calls: int
    """Ended by then."""
    pss_kb: Mapping[str, int]
    private_kb: Mapping[str, Mapping[int, int]]
    """By kind and process."""
    processes: Mapping[str, int]
    descriptors: Mapping[str, int]
    threads: int
    ports: frozenset[int]
    lines: str

    @classmethod
    async def now(cls, on: Stage, family: Family) -> Sample:
        usage = await asyncio.to_thread(family.usage)
        readiness = (await on.server.client.get("/readyz")).json()
        return cls(
            at_s=time.monotonic(),
            calls=len(on.told),
            pss_kb=await asyncio.to_thread(family.pss_kb),
            private_kb={
                "control": {on.server.pid: private_kb(on.server.pid)},
                "worker": {pid: private_kb(pid) for pid in family.pids() if kind_of(pid) == "worker"},
            },
            processes={kind: each.processes for kind, each in usage.items() if each.processes},
            descriptors={kind: each.descriptors for kind, each in usage.items() if each.processes},
            threads=sum(each.threads for each in usage.values()),
            ports=frozenset(bound_ports()) & frozenset(on.ports),
            lines=readiness["checks"]["lines"].partition(" in use")[0],
        )

    @property
    def held(self) -> tuple[object, ...]:
        """What must be after as it was before."""
        return self.processes, self.descriptors, len(self.ports), self.lines

    def memory_kb(self, kind: str) -> float:
        """Of one process of that kind, on average."""
        return self.pss_kb.get(kind, 0) / max(1, self.processes.get(kind, 0))


@dataclass(slots=True)
class Soak:
    """The calls of a run and what was seen."""

    on: Stage
    kinds: dict[str, str] = field(default_factory=dict)
    """Of each accepted call."""
    refused: Counter[int] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)

    async def at_rate(self, calls_per_s: float, seconds: float) -> None:
        """Place calls at a steady rate."""
        rng = random.Random(4)
        names, shares = list(KINDS), [kind.share for kind in KINDS.values()]
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            for number in range(int(calls_per_s * seconds)):
                await asyncio.sleep(max(0.0, began_s + number / calls_per_s - time.monotonic()))
                calls.create_task(self._call(rng.choices(names, shares)[0], rng))

    async def calm(self) -> None:
        """Leave the control process what it always keeps, whatever went on before: a connection to Ultravox for each
        call that last asked it at once, which is one, and both readers of SQLite."""
        await asyncio.gather(*(self.on.server.client.get("/api/voice") for _ in range(2 * _READERS)))
        await asyncio.sleep(_KEPT_S)
        await self._call(ALONE, random.Random(4))

    async def one_by_one(self, calls: int) -> None:
        """Place calls, each when the one before has ended."""
        rng = random.Random(4)
        for number in range(calls):
            await self._call(ONE_BY_ONE[number % len(ONE_BY_ONE)], rng)

    async def watch(self, family: Family) -> None:
        """A sample and a line each ``SAMPLE_S``, until cancelled."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            self.samples.append(sample := await Sample.now(self.on, family))
            placed, since_s = len(self.kinds), sample.at_s - self.samples[0].at_s + SAMPLE_S
            print(
                f"{since_s:6.0f} s  {placed} calls placed, {sample.calls} ended, lines {sample.lines}; "
                f"control {sample.memory_kb('control') / 1024:.1f} MB, {sample.processes.get('worker', 0)} workers of "
                f"{sample.memory_kb('worker') / 1024:.1f} MB; {sum(sample.descriptors.values())} descriptors",
                flush=True,
            )

    async def _call(self, name: str, rng: random.Random) -> None:
        kind = KINDS[name]
        body: dict[str, Any] = {"from": kind.trunk, "to": TO, "maxDuration": kind.max_duration}
        if kind.prompt:
            body["systemPrompt"] = kind.prompt
        answer = await self.on.server.client.post("/api/voice", json=body)
        if answer.status_code != 200:
            self.refused[answer.status_code] += 1
            return
        call = answer.json()["id"]
        self.on.accepted.add(call)
        self.kinds[call] = name
        if kind.hang_up_s:
            await asyncio.sleep(rng.uniform(*kind.hang_up_s))
            await self.on.hang_up(call)
        await self.on.until_told({call}, within_s=SETTLES_S)

    def unexpected(self) -> Counter[str]:
        """Ends that a call of its kind does not have."""
        ends = ((self.kinds[call], end["ended"]["cause"]) for call, end in self.on.told.items())
        return Counter(f"{name}: {cause}" for name, cause in ends if cause not in KINDS[name].causes)


def agent(conversation: Conversation, _: object) -> None:
    """Does as its prompt says, half a second after it has joined."""
    prompt, loop = conversation.settings.body["systemPrompt"], asyncio.get_running_loop()
    if prompt == HANGS_UP:
        loop.call_later(0.5, conversation.agent.hang_up, "Goodbye.")
    elif prompt == VANISHES:
        loop.call_later(0.5, conversation.messages.put, Cut())


def private_kb(pid: int) -> int:
    """What only that process has; 0 when it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
    return 0


def growth(samples: Sequence[Sample], kind: str) -> tuple[float, float]:
    """Of the processes of that kind that are in all samples: bytes a call, and KB of the one that grew most."""
    calls = [sample.calls for sample in samples]
    everywhere = set[int].intersection(*(set(sample.private_kb[kind]) for sample in samples)) if samples else set()
    if len(samples) < 3 or calls[0] == calls[-1] or not everywhere:
        return 0.0, 0.0
    slopes = [linear_regression(calls, [sample.private_kb[kind][pid] for sample in samples])[0] for pid in everywhere]
    return sum(slopes) * 1024, max(slopes) * (calls[-1] - calls[0])


def rows(on: Stage) -> dict[str, int]:
    """Of each table; and of those that must be none."""
    count = "SELECT count(*) FROM {}".format
    queries = {table: count(table) for table in ("calls", "changes", "transcript_lines", "deliveries")}
    queries["live calls"] = count("calls WHERE status NOT IN ('completed', 'failed')")
    queries["pending deliveries"] = count("deliveries WHERE status = 'pending'")
    queries["failed deliveries"] = count("deliveries WHERE status = 'failed'")
    with closing(sqlite3.connect(on.server.database)) as database:
        return {name: database.execute(query).fetchone()[0] for name, query in queries.items()}


def leaks(soak: Soak, before: Sample, after: Sample) -> Iterator[str]:
    """Each in a sentence."""
    if after.held != before.held:
        yield f"not given back: {after.held}, before: {before.held}"
    for name, count in soak.unexpected().items():
        yield f"{count} calls with an end of another kind: {name}"
    for status, count in soak.refused.items():
        yield f"{count} calls refused with {status}"
    table = rows(soak.on)
    if table["calls"] != len(soak.on.accepted):
        yield f"{table['calls']} calls in the database, {len(soak.on.accepted)} accepted"
    for name in ("live calls", "pending deliveries", "failed deliveries"):
        if table[name]:
            yield f"{table[name]} {name}"
    for kind, noise_kb in NOISE_KB.items():
        bytes_a_call, most_kb = growth(soak.samples, kind)
        if bytes_a_call > TOLERATED_BYTES and most_kb > noise_kb:
            yield f"memory of {kind}: {bytes_a_call:.0f} bytes a call, {most_kb:.0f} KB in one process"


def table(soak: Soak, start: tuple[Sample, dict[str, int]], end: tuple[Sample, dict[str, int]]) -> Iterator[str]:
    """The figures of both, and the database's rows."""
    (before, rows_before), (after, rows_after) = start, end
    yield f"{'':34} {'before':>10} {'after':>10}"
    for kind in ("control", "edge", "fork-server", "registrar", "worker"):
        yield f"{f'memory (PSS) of a {kind}, MB':34} " + " ".join(
            f"{sample.memory_kb(kind) / 1024:10.1f}" for sample in (before, after)
        )
        yield f"{f'{kind}: processes, descriptors':34} " + " ".join(
            f"{f'{sample.processes.get(kind, 0)}, {sample.descriptors.get(kind, 0)}':>10}" for sample in (before, after)
        )
    yield f"{'threads':34} {before.threads:10} {after.threads:10}"
    yield f"{'ports bound':34} {len(before.ports):10} {len(after.ports):10}"
    yield f"{'lines':34} {before.lines:>10} {after.lines:>10}"
    for name, count in rows_after.items():
        yield f"{f'rows: {name}':34} {rows_before[name]:10} {count:10}"
    for kind, noise_kb in NOISE_KB.items():
        bytes_a_call, most_kb = growth(soak.samples, kind)
        yield (
            f"growth, {kind}: {bytes_a_call:.0f} bytes a call ({TOLERATED_BYTES} tolerated), "
            f"{most_kb:.0f} KB in one process ({noise_kb} tolerated)"
        )
    ends = Counter(f"{soak.kinds[call]} → {end['ended']['cause']}" for call, end in soak.on.told.items())
    yield "ends: " + "; ".join(f"{count} {name}" for name, count in ends.most_common())


async def settled(soak: Soak, family: Family, holds: Callable[[Sample], bool]) -> Sample:
    """What is held once that is so and every webhook was told; or after as long as it may take."""
    held = await Sample.now(soak.on, family)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_IDLE_S):
            while not holds(held) or rows(soak.on)["pending deliveries"]:
                await asyncio.sleep(1)
                held = await Sample.now(soak.on, family)
    return held


async def main(minutes: float, rate: float, calls: int) -> None:
    far_ends = {
        caller: Trunk(scenario, rtp_echo=caller == ANSWERS, hold_ms=700) for caller, scenario in FAR_ENDS.items()
    }
    async with stage(far_ends, max_calls=max(_MAX_CALLS, int(rate * 6)), ring_timeout="3s", on_join=agent) as on:
        family, soak = Family(on.server.pid), Soak(on)
        print(f"warming up: {_WARM_UP_S:.0f} s of calls, then until idle workers are let go", flush=True)
        fresh = await Sample.now(on, family)
        await soak.at_rate(rate, _WARM_UP_S)
        await soak.calm()
        before = await settled(soak, family, lambda now: now.processes == fresh.processes)
        rows_before = rows(on)
        watching = asyncio.create_task(soak.watch(family))
        await (soak.one_by_one(calls) if calls else soak.at_rate(rate, minutes * 60))
        watching.cancel()
        await soak.calm()
        print("all calls have ended; waiting until what they used is given back", flush=True)
        after = await settled(soak, family, lambda now: now.held == before.held)
        print("", *table(soak, (before, rows_before), (after, rows(on))), sep="\n", flush=True)
        if found := list(leaks(soak, before, after)):
            raise Lost("\n".join(found))
        print(f"{len(on.accepted)} calls: nothing lost, nothing left over, nothing grows", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=6, help="calls a second")
    parser.add_argument("--calls", type=int, default=0, help="so many, one after another, in place of a rate")
    given = parser.parse_args()
    try:
        asyncio.run(main(given.minutes, given.rate, given.calls))
    except Lost as lost:
        sys.exit(f"LOST: {lost}")
    except KeyboardInterrupt:
        sys.exit(130)
