"""The pool's handle of one worker: its process, the calls that hold its lines, and whether it still answers."""

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
"""A worker reports something every second. A worker that is silent for this many of our own seconds is killed: its
calls have had no audio for as long. Seconds in which this process was itself held up do not count, so that a machine
short of CPU raises no alarm."""
_STARTING_SWEEPS = 30
"""The same for a worker that is not ready yet: a fork and PJSIP's start, while everything else starts too."""
COOLING_S = 0.75
MOST_COOLING, MOST_COOLING_SRTP = 20, 10
"""PJLIB keeps a closed socket's handle for half a second. When the build's 64 handles are used up, it asserts, which
kills the process. A call takes two handles, with SRTP four. A worker gets no calls after this many ended within that
time, as on a trunk that refuses everything."""


class Child(Protocol):
    """A running process as the pool sees it."""

    @property
    def pid(self) -> int: ...

    def send(self, command: Command) -> None: ...

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        ...


class StartChild(Protocol):
    """Starts the worker of a slot; its events and its end arrive by the callbacks."""

    async def __call__(self, slot: int, on_event: Callable[[Event], None], on_exit: Callable[[], None]) -> Child: ...


@dataclass(slots=True, kw_only=True, eq=False)
class WorkerHandle:
    """A worker from the decision to start it to the end of its process. While ``child`` is None, it is starting."""

    slot: int
    child: Child | None = None
    lines: int = 0
    """0 until the worker is ready."""
    calls: dict[AttemptId, int | None] = field(default_factory=dict)
    """The calls that hold a line, each with the number of its ``Dial`` once that was sent."""
    idle_since_s: float = 0.0
    stopping: bool = False
    heartbeat: Heartbeat | None = None
    most_cooling: int = MOST_COOLING
    failing: bool = False
    """The worker itself failed to send an INVITE. It gets no more calls, and is stopped after its last one."""
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
        """Whether the worker is ready and no call holds any of its lines."""
        return self.child is not None and self.free == self.lines > 0

    def send(self, command: Command) -> None:
        """Send the worker a command; does nothing while it is starting."""
        if self.child is None:
            return
        if isinstance(command, Dial):
            self._dials += 1
            self.calls[command.attempt_id] = self._dials
        self.child.send(command)

    def retire(self) -> None:
        """Give the worker no more calls and stop it. A worker that is still starting is to be retired again when it is
        ready."""
        self.stopping = True
        self.send(Stop())

    def note_sign_of_life(self) -> None:
        """The worker reported something."""
        self._silent = 0

    def sweep(self) -> None:
        """Count one second of silence; kill the worker after too many. To be called once a second."""
        self._silent += 1
        if self.child is not None and self._silent > (SILENT_SWEEPS if self.lines else _STARTING_SWEEPS):
            log.error("worker does not answer; killing it", extra={"pid": self.child.pid})
            self.child.kill()
            self._silent = 0

    def mark_ended(self, attempt_id: AttemptId) -> None:
        """The call is over for the worker and gone from its table, but its line is not free yet."""
        if attempt_id in self.calls:
            self.calls[attempt_id] = None

    def give_up(self, attempt_id: AttemptId) -> None:
        """The call's line is free; ``cooled`` is to be called ``COOLING_S`` later."""
        self.calls.pop(attempt_id, None)
        self._cooling += 1

    def cooled(self) -> bool:
        """The sockets of a freed line are gone too. True when the worker may take calls again because of it."""
        self._cooling -= 1
        return self._cooling == self.most_cooling - 1

    def strays(self, reported: Heartbeat) -> Collection[AttemptId]:
        """The calls in the worker's table that hold no line here."""
        return reported.calls - self.calls.keys()

    def missing(self, reported: Heartbeat) -> Collection[AttemptId]:
        """The calls that the worker was to dial but does not know. A ``Dial`` still on its way does not count."""
        return [
            attempt_id
            for attempt_id, dial in self.calls.items()
            if dial is not None and dial <= reported.dials and attempt_id not in reported.calls
        ]
