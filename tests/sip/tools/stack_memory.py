"""What is still allocated for each of many answered calls when their transactions are over; runs in its own process."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time

from tests.sip.edge_beside import StackOnLink, trunk_to
from tests.sip.stack_alone import Clock, Listener

CALLS = 20
_TRANSACTIONS_END_S = 40.0


class _Allocated(ctypes.Structure):
    """``struct mallinfo2`` (glibc's malloc.h)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ["arena", "ordblks", "smblks", "hblks", "mapped", "usmblks", "fsmblks", "used", "free", "keepcost"]
    )


def allocated() -> int:
    """Bytes in use from malloc."""
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Allocated
    now = mallinfo2()
    return int(now.used + now.mapped)


def main(uri: str, descriptor: int) -> None:
    clock = Clock()
    stack = StackOnLink(descriptor)
    trunk = trunk_to(uri)

    def calls(count: int) -> None:
        for _ in range(count):
            listener = Listener()
            call_id = str(time.monotonic_ns())
            leg = stack.stack.dial(
                trunk, listener, from_number="+15557654321", to_number="+15551234567", sip_call_id=call_id
            )
            while not listener.answered:
                stack.poll()
            leg.hang_up()
            while listener.end is None:
                stack.poll()
        until_s = time.monotonic() + 0.2
        while time.monotonic() < until_s:  # the answers to BYE
            stack.poll()
        clock.ahead_s += _TRANSACTIONS_END_S
        for _ in range(CALLS):
            stack.poll()

    calls(2)
    before = allocated()
    calls(CALLS)
    print((allocated() - before) // CALLS, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
