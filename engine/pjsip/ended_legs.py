"""Legs that are over, kept until PJSIP has finished with them."""

from __future__ import annotations

from typing import Protocol

from engine.pjsip.library import lines_in_use


class EndedLeg(Protocol):
    """A ``pj.Call`` that is over for its listener."""

    def isActive(self) -> bool: ...

    def getId(self) -> int: ...

    def tell_gone(self) -> None:
        """Notify the listener that the leg's last transaction is over too and its line is free."""
        ...


_finished: list[EndedLeg] = []
_lingering: list[EndedLeg] = []


def keep(leg: EndedLeg, *, lingering: bool) -> None:
    """Keep a leg that is over. ``lingering``: we hung up, and the far end has yet to confirm."""
    _finished.append(leg)
    if lingering:
        _lingering.append(leg)


def release() -> None:
    """Drop the legs that PJSIP has finished with; to be called after each round of its events, outside its callbacks.

    pj.Call's destructor hangs up any call in its slot. So a leg whose slot has a new call waits for that call's end.
    """
    if _finished:
        _finished[:] = [leg for leg in _finished if leg.isActive()]
    if _lingering:
        in_use = lines_in_use()
        for leg in _lingering.copy():
            if leg.getId() not in in_use:
                _lingering.remove(leg)
                leg.tell_gone()
