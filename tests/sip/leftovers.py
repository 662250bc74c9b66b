"""What a test must give back: processes, descriptors, tasks and ports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What this process holds at a moment; after is ``within`` before when nothing was left over."""

    children: frozenset[int]
    """Its own. A grandchild that outlived them shows in ``ports``."""
    descriptors: int
    tasks: int
    ports: frozenset[int]
    """Those asked for that somebody on this machine has bound."""

    @classmethod
    def now(cls, ports: Iterable[int] = ()) -> Self:
        return cls(
            children=frozenset(_children()),
            descriptors=len(os.listdir("/proc/self/fd")),
            tasks=len(asyncio.all_tasks()),
            ports=frozenset(ports) & frozenset(bound_ports()),
        )

    def within(self, before: Self) -> bool:
        """Nothing is held that was not held before. Of that, the garbage collector may have given some back."""
        fewer = self.descriptors <= before.descriptors and self.tasks <= before.tasks
        return fewer and self.children <= before.children and self.ports <= before.ports


def _children() -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == os.getpid():
            yield int(stat.parent.name)


def bound_ports() -> Iterator[int]:
    for protocol in ("udp", "tcp"):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            yield int(line.split()[1].rpartition(":")[2], 16)
