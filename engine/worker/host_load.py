"""The load of the machine's processors."""

from __future__ import annotations

from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE, _IOWAIT = 3, 4


class HostLoad:
    """Reads ``/proc/stat``, which never blocks. Time stolen by other virtual machines counts as busy."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._before = self._read()

    def take(self) -> float:
        """The share of all processors' time used since the last call, 0 to 1; 0 when it is unknown."""
        before, self._before = self._before, self._read()
        total, idle = (now - then for now, then in zip(self._before, before, strict=True))
        return 1 - idle / total if total > 0 else 0.0

    def _read(self) -> tuple[int, int]:
        try:
            with self._stat.open() as file:
                times = [int(ticks) for ticks in file.readline().split()[1:9]]  # guest time is in user time already
        except OSError:
            return 0, 0
        return sum(times), times[_IDLE] + times[_IOWAIT]
