"""The cost of processes by kind, read from /proc: CPU time, memory, context switches, descriptors."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The usage of one process, or the sum of several. Memory is read separately, because that takes milliseconds."""

    processes: int = 0
    cpu_s: float = 0.0
    switches: int = 0
    descriptors: int = 0
    threads: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{it.name: getattr(self, it.name) + getattr(other, it.name) for it in fields(Usage)})

    def __sub__(self, other: Usage) -> Usage:
        return Usage(**{it.name: getattr(self, it.name) - getattr(other, it.name) for it in fields(Usage)})

    @classmethod
    def of(cls, pid: int) -> Self:
        """The current usage; all zero for a process that is gone."""
        folder = Path(f"/proc/{pid}")
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            switches = sum(_switches(task / "status") for task in (folder / "task").iterdir())
            descriptors = len(os.listdir(folder / "fd"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return cls()
        cpu_s = (int(stat[11]) + int(stat[12])) / _TICKS_PER_S
        return cls(processes=1, cpu_s=cpu_s, switches=switches, descriptors=descriptors, threads=int(stat[17]))


class Family:
    """A process and its descendants. The usage of a member stays counted when it is gone."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._kinds: dict[int, str] = {}
        self._last: dict[int, Usage] = {}

    def pids(self) -> set[int]:
        """The members that are alive."""
        return {self._root, *descendants(self._root)} if Path(f"/proc/{self._root}").exists() else set()

    def usage(self) -> Mapping[str, Usage]:
        """The usage by kind, since each process began. Processes and descriptors count only live members."""
        alive = self.pids()
        for pid in alive:
            self._kinds.setdefault(pid, "control" if pid == self._root else kind_of(pid))
            if (now := Usage.of(pid)).processes:
                self._last[pid] = now
        totals: dict[str, Usage] = defaultdict(Usage)
        for pid, usage in self._last.items():
            gone = Usage(processes=usage.processes, descriptors=usage.descriptors, threads=usage.threads)
            totals[self._kinds[pid]] += usage if pid in alive else usage - gone
        return dict(totals)

    def pss_kb(self) -> Mapping[str, int]:
        """Proportional set size by kind: shared memory is divided among its processes."""
        totals: dict[str, int] = defaultdict(int)
        for pid in self.pids():
            totals["control" if pid == self._root else kind_of(pid)] += pss_kb(pid)
        return dict(totals)


def how_many_live(pids: Iterable[int]) -> int:
    """The number of these processes that are alive."""
    return sum(Path(f"/proc/{pid}").exists() for pid in pids)


def kind_of(pid: int) -> str:
    """The kind from the process's title: ``trunkline: worker 3`` is a worker."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "other"
    found = re.search(r"trunkline: ([\w-]+)", title)
    return found[1] if found else "other"


def pss_kb(pid: int) -> int:
    """The proportional set size; 0 for a process that is gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def descendants(root: int) -> set[int]:
    """Every process below ``root``."""
    children: dict[int, set[int]] = defaultdict(set)
    for pid, parent in _parents():
        children[parent].add(pid)
    found, fresh = set[int](), children[root]
    while fresh:
        found |= fresh
        fresh = set().union(*(children[pid] for pid in fresh)) - found
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue


def _switches(status: Path) -> int:
    lines = status.read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
