"""Legs that are over, held until PJSIP is done with them."""

from __future__ import annotations

from typing import Protocol

from engine.pjsip.library import lines_in_use


class EndedLeg(Protocol):
    """A ``pj.Call`` that is over for its listener."""

    def isActive(self) -> bool: ...

    def getId(self) -> int: ...

    def tell_gone(self) -> None:
        """Its transaction with the far end is over too: its line is free."""
        ...


_finished: list[EndedLeg] = []
_lingering: list[EndedLeg] = []


def keep(leg: EndedLeg, *, lingering: bool) -> None:
    """The leg is over. ``lingering``: we hung up, and its transaction with the far end is not over yet."""
    _finished.append(leg)
    if lingering:
        _lingering.append(leg)


def release() -> None:
    """Drop what PJSIP is done with; to be called after each round of its events, outside its callbacks.

    pj.Call's destructor hangs up whatever call is in its slot, so one whose slot has a new call already waits for that
    one's end.
    """
    if _finished:
        _finished[:] = [leg for leg in _finished if leg.isActive()]
    if _lingering:
        in_use = lines_in_use()
        for leg in _lingering.copy():
            if leg.getId() not in in_use:
                _lingering.remove(leg)
                leg.tell_gone()
