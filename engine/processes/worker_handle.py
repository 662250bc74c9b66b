"""One worker as its pool sees it: its process, the calls that hold its lines, and whether it still answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from engine.messages.commands import Command, Dial, Stop
from engine.messages.events import Event, Heartbeat
from engine.records import AttemptId

log = logging.getLogger("trunkline.pool")

SILENT_SWEEPS = 5
"""A worker tells something every second. One that tells nothing for this many of our own seconds is killed: by then its
calls have not been sent audio for as long. Seconds that this process was itself kept waiting are not counted, so that
a machine without CPU to spare raises no alarm."""
_STARTING_SWEEPS = 30
"""The same for a worker that is not ready yet: a fork and PJSIP's start, while everything else starts too."""
COOLING_S = 0.75
MOST_COOLING, MOST_COOLING_SRTP = 20, 10
"""PJLIB keeps a closed socket's handle for half a second and asserts, which kills the process, when the build's 64 are
gone; a call takes two, with SRTP four. A worker whose calls end faster than this many in that time (a trunk that
refuses everything) rests."""


class Child(Protocol):
    """A running process as the pool sees it."""

    @property
    def pid(self) -> int: ...

    def send(self, command: Command) -> None: ...

    def kill(self) -> None:
        """End it at once, whatever it does."""
        ...


class StartChild(Protocol):
    """Starts the worker of a slot; its events and its end arrive by the callbacks."""

    async def __call__(self, slot: int, on_event: Callable[[Event], None], on_exit: Callable[[], None]) -> Child: ...


@dataclass(slots=True, kw_only=True, eq=False)
class WorkerHandle:
    """From the decision to start it to the end of its process. Without ``child`` it is being started."""

    slot: int
    child: Child | None = None
    lines: int = 0
    """0 until it is ready."""
    calls: dict[AttemptId, int | None] = field(default_factory=dict)
    """Those that hold a line, each with the number of its ``Dial`` once that was sent."""
    idle_since_s: float = 0.0
    stopping: bool = False
    heartbeat: Heartbeat | None = None
    most_cooling: int = MOST_COOLING
    failing: bool = False
    """It could not send an INVITE, for a reason of its own: it gets no more calls, and leaves after its last one."""
    _cooling: int = 0
    _dials: int = 0
    _silent: int = 0

    @property
    def free(self) -> int:
        """Lines that a call may have now."""
        if self.stopping or self.failing or self._cooling >= self.most_cooling:
            return 0
        return self.lines - len(self.calls)

    @property
    def idle(self) -> bool:
        """Whether it is ready and no call has any of its lines."""
        return self.child is not None and self.free == self.lines > 0

    def send(self, command: Command) -> None:
        """Give it a command; nothing happens while it is being started."""
        if self.child is None:
            return
        if isinstance(command, Dial):
            self._dials += 1
            self.calls[command.attempt_id] = self._dials
        self.child.send(command)

    def retire(self) -> None:
        """Give it no more calls, and have it leave; one that is being started is to be told when it is ready."""
        self.stopping = True
        self.send(Stop())

    def note_sign_of_life(self) -> None:
        """It told something."""
        self._silent = 0

    def sweep(self) -> None:
        """A second went by; kill it when it has said nothing for too many of them."""
        self._silent += 1
        if self.child is not None and self._silent > (SILENT_SWEEPS if self.lines else _STARTING_SWEEPS):
            log.error("a worker does not answer; it is killed", extra={"pid": self.child.pid})
            self.child.kill()
            self._silent = 0

    def mark_ended(self, attempt_id: AttemptId) -> None:
        """The call is over for the worker, and no longer in its table, but its line is not free yet."""
        if attempt_id in self.calls:
            self.calls[attempt_id] = None

    def give_up(self, attempt_id: AttemptId) -> None:
        """The call's line is free; ``cooled`` is to be called ``COOLING_S`` later."""
        self.calls.pop(attempt_id, None)
        self._cooling += 1

    def cooled(self) -> bool:
        """What a freed line left behind is gone too; True when calls may come again because of it."""
        self._cooling -= 1
        return self._cooling == self.most_cooling - 1

    def strays(self, told: Heartbeat) -> Collection[AttemptId]:
        """The calls in the worker's own table that hold no line here."""
        return told.calls - self.calls.keys()

    def missing(self, told: Heartbeat) -> Collection[AttemptId]:
        """The calls it was told to dial, and knows nothing of; one still on its way to it is not among them."""
        return [
            attempt_id
            for attempt_id, dial in self.calls.items()
            if dial is not None and dial <= told.dials and attempt_id not in told.calls
        ]
