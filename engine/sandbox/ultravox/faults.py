"""What a client did wrong, counted by kind: the simulator's verdict on whoever uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, kw_only=True)
class Fault:
    """One kind of mistake: how often, and the first time in words. ``first_at_s`` counts from the call's creation."""

    count: int
    first_detail: str
    first_at_s: float


class ClientFaults:
    """Bounded by the number of kinds; the kinds are listed where they are noted."""

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
