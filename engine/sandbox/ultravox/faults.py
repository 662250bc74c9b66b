"""The simulator's verdict on a client: its faults, counted by kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, kw_only=True)
class Fault:
    """One kind of fault: its count, and the first occurrence in words. ``first_at_s`` is since the call's creation."""

    count: int
    first_detail: str
    first_at_s: float


class ClientFaults:
    """The faults by kind, so their number is bounded. Each class that notes faults lists its kinds."""

    def __init__(self, since: float = 0.0) -> None:
        self._since = since
        self._by_kind: dict[str, Fault] = {}

    def note(self, kind: str, now: float, detail: str = "") -> None:
        fault = self._by_kind.get(kind)
        if fault is not None:
            fault.count += 1
        else:
            at_s = round(now - self._since, 3)
            self._by_kind[kind] = Fault(count=1, first_detail=detail[:200], first_at_s=at_s)

    @property
    def counts(self) -> dict[str, int]:
        return {kind: fault.count for kind, fault in self._by_kind.items()}

    def render(self) -> list[dict[str, Any]]:
        return [
            {"kind": kind, "count": it.count, "firstDetail": it.first_detail, "firstAtS": it.first_at_s}
            for kind, it in self._by_kind.items()
        ]
