"""The sandbox's telephone numbers, and how the simulated carrier behaves when one is dialled."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Ring for ``ring_s`` (for ever when infinite), then send ``final_code``, or answer when it is None.

    After the answer the far end presses ``keys`` and hangs up after ``hangup_after_s``; None means never.
    """

    final_code: int | None = None
    ring_s: float = 1.0
    hangup_after_s: float | None = None
    keys: str = ""


_ANSWERS = Behaviour()
_SPECIAL = {
    "+15005550001": Behaviour(final_code=486, ring_s=0.0),
    "+15005550002": Behaviour(ring_s=math.inf),
    "+15005550003": Behaviour(final_code=603, ring_s=0.0),
    "+15005550004": Behaviour(final_code=503, ring_s=0.0),
    "+15005550005": Behaviour(ring_s=5.0),
    "+15005550006": Behaviour(hangup_after_s=3.0),
    "+15005550007": Behaviour(hangup_after_s=4.0, keys="1234#"),
}


def behaviour(number: str) -> Behaviour:
    """The behaviour of ``number`` (E.164). A number that is not in the table answers after a second."""
    return _SPECIAL.get(number, _ANSWERS)
