"""A pool of worker processes and their lines: some lines are kept warm, and each call holds one line."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterator

from engine.errors import EngineError
from engine.messages.commands import Command, HangUp
from engine.messages.events import (
    Alive,
    AttemptEnded,
    CallEvent,
    Event,
    Heartbeat,
    LineFree,
    Probed,
    Ready,
    Registration,
)
from engine.outcome import WORKER_LOST
from engine.pjsip_limits import LINES_PER_INSTANCE
from engine.processes.worker_handle import COOLING_S, MOST_COOLING, StartChild, WorkerHandle
from engine.records import AttemptId, call_of

log = logging.getLogger("trunkline.pool")

SPARE_LINES = 8
"""Free lines to keep warm, so that a call gets one without waiting for a process to start."""
_IDLE_S = 60.0
_STARTS_AT_ONCE = 2
_RESTART_PAUSE_S = 0.5


class WorkerPool:
    """Lines for up to ``max_calls`` calls at once.

    ``lease`` gives a call a line if one is free. From then on the call's events go to ``on_event``, until its
    ``AttemptEnded`` frees the line, or a later ``LineFree`` when the far end has yet to confirm. If the worker dies
    first, ``on_lost`` is called once, and the line is gone with the process.
    """

    def __init__(
        self,
        start_child: StartChild,
        *,
        max_calls: int,
        slots: int,
        lines_per_worker: int = LINES_PER_INSTANCE,
        on_event: Callable[[CallEvent], None],
        on_lost: Callable[[AttemptId], None],
        spare_lines: int = SPARE_LINES,
        most_cooling: int = MOST_COOLING,
    ) -> None:
        self._most_cooling = most_cooling
        self.max_calls = max_calls
        self._start_child = start_child
        self._slots = slots
        self._lines_per_worker = lines_per_worker
        self._spare_lines = spare_lines
        self._on_event = on_event
        self._on_lost = on_lost
        self._workers: dict[int, WorkerHandle] = {}
        self._by_call: dict[AttemptId, WorkerHandle] = {}
        self._starting = 0
        self._failures = 0
        self._failed_slots: set[int] = set()
        self._gone = asyncio.Condition()
        self._on_room: Callable[[], None] = lambda: None
        self._on_free: Callable[[AttemptId], None] = lambda _: None
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False
        self.real_time = False  # whether workers got real-time priority, as the last one reported

    # -- interface -----------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """True when a call would get a line without a new process."""
        return any(worker.free > 0 for worker in self._workers.values())

    @property
    def heartbeats(self) -> dict[int, Heartbeat]:
        """The last heartbeat of each worker, by pid."""
        return {w.child.pid: w.heartbeat for w in self._workers.values() if w.child is not None and w.heartbeat}

    def pids(self) -> Iterator[int]:
        """The pids of the workers, oldest slot first."""
        return (w.child.pid for w in self._workers.values() if w.child is not None)

    def warm_up(self) -> None:
        """Start workers for the spare lines; does not wait for them."""
        self._refill()

    def watch(self, *, on_room: Callable[[], None], on_free: Callable[[AttemptId], None]) -> None:
        """``on_free`` is called for each call that no longer holds its line, ``on_room`` when ``lease`` may succeed."""
        self._on_room, self._on_free = on_room, on_free

    def lease(self, attempt_id: AttemptId) -> int | None:
        """Lease a line for the call; returns its worker's slot. None when no line is free: a worker is then started, if
        the limits allow one."""
        worker = self._fullest_with_room()
        if worker is None:
            self._refill(wanted=1)
            return None
        worker.calls[attempt_id] = None
        self._by_call[attempt_id] = worker
        self._refill()
        return worker.slot

    def send(self, attempt_id: AttemptId, command: Command) -> bool:
        """Send a command to the worker that carries the call; False when that worker is gone."""
        if (worker := self._by_call.get(attempt_id)) is None:
            return False
        worker.send(command)
        return True

    def carries(self, attempt_id: AttemptId) -> bool:
        """Whether the call holds a line."""
        return attempt_id in self._by_call

    def sweep(self) -> None:
        """Kill the workers that report nothing any more; to be called once a second. Their exit is handled as usual."""
        for worker in list(self._workers.values()):
            worker.sweep()

    def give_back(self, attempt_id: AttemptId) -> None:
        """Free a leased line over which nothing was dialled: its worker knows no such call and will report no end."""
        self._release(attempt_id)

    async def close(self, timeout_s: float = 6.0) -> None:
        """Stop every worker; returns when all are gone."""
        self.closed = True
        for worker in list(self._workers.values()):
            worker.retire()
        try:
            async with asyncio.timeout(timeout_s), self._gone:
                await self._gone.wait_for(lambda: not self._workers and not self._starting)
        except TimeoutError:
            log.warning("workers did not stop in time; killing them", extra={"pids": list(self.pids())})
            for worker in self._workers.values():
                if worker.child is not None:
                    worker.child.kill()
        for task in self._tasks:
            task.cancel()

    # -- the workers ---------------------------------------------------------------------------------------------------

    def _fullest_with_room(self) -> WorkerHandle | None:
        # Fill one worker before the next, so that others stay idle and can be stopped. But while there are few calls,
        # put few in each worker, because the calls of a worker are lost together.
        return max(
            (w for w in self._workers.values() if w.free > 0),
            key=lambda w: (len(w.calls) < LINES_PER_INSTANCE, len(w.calls)),
            default=None,
        )

    def _refill(self, wanted: int = 0) -> None:
        """Start workers until there are enough spare lines, and stop workers that have long been idle."""
        if self.closed:
            return
        known = next((w.lines for w in self._workers.values() if w.lines), self._lines_per_worker)
        free = sum(w.free if w.lines else known for w in self._workers.values())
        busy = len(self._by_call)
        target = min(max(self._spare_lines, wanted), max(wanted, self.max_calls - busy))
        missing = math.ceil(max(0, target - free) / known)
        for _ in range(min(missing, _STARTS_AT_ONCE - self._starting)):
            slot = self._next_slot()
            if slot is None:
                return
            self._workers[slot] = worker = WorkerHandle(slot=slot, most_cooling=self._most_cooling)
            self._starting += 1
            self._spawn(self._start(worker))
        self._shrink(free - target, known)

    def _next_slot(self) -> int | None:
        """The first slot without a worker. Slots whose last worker could not start (port taken?) come last."""
        empty = [slot for slot in range(self._slots) if slot not in self._workers]
        return min(empty, key=lambda slot: (slot in self._failed_slots, slot), default=None)

    def _shrink(self, surplus: int, known: int) -> None:
        now_s = asyncio.get_running_loop().time()
        for worker in reversed(list(self._workers.values())):
            if surplus < known:
                return
            if worker.idle and now_s - worker.idle_since_s > _IDLE_S:
                worker.retire()
                surplus -= known

    async def _start(self, worker: WorkerHandle) -> None:
        if self._failures:
            await asyncio.sleep(min(10.0, _RESTART_PAUSE_S * 2**self._failures))
        try:
            worker.child = await self._start_child(
                worker.slot, lambda event: self._receive(worker, event), lambda: self._exited(worker)
            )
        except EngineError as error:
            log.error("%s", error)
            self._exited(worker)

    def _receive(self, worker: WorkerHandle, event: Event) -> None:
        worker.note_sign_of_life()
        if isinstance(event, CallEvent | LineFree) and self._by_call.get(event.attempt_id, worker) is not worker:
            log.error("a worker reports another worker's call", extra={"call": call_of(event.attempt_id)})
            return
        match event:
            case Ready() if worker.lines:
                log.error("a worker reports itself ready twice", extra={"slot": worker.slot})
            case Ready():
                worker.lines = event.lines
                self.real_time = event.real_time
                worker.idle_since_s = asyncio.get_running_loop().time()
                self._starting -= 1
                self._failures = 0
                self._failed_slots.discard(worker.slot)
                if self.closed:
                    worker.retire()
                self._notify()
            case Heartbeat():
                worker.heartbeat = event
                self._reconcile(worker, event)
                self._refill()
            case AttemptEnded():
                if event.unsent:
                    log.error("a worker could not send an INVITE; another takes its place", extra={"slot": worker.slot})
                    worker.failing = True
                self._on_event(event)
                if not event.line_held:
                    self._release(event.attempt_id)
                else:
                    worker.mark_ended(event.attempt_id)
            case LineFree():
                self._release(event.attempt_id)
            case Alive() | Registration() | Probed():
                log.error("unexpected event from a worker: %s", type(event).__name__)
            case _:
                self._on_event(event)

    def _reconcile(self, worker: WorkerHandle, reported: Heartbeat) -> None:
        """Compare our table with the worker's: nobody would end a call that only one side knows."""
        for attempt_id in worker.strays(reported):
            log.error("orphaned call in a worker; hanging it up", extra={"call": call_of(attempt_id)})
            worker.send(HangUp(attempt_id=attempt_id, outcome=WORKER_LOST))
        for attempt_id in worker.missing(reported):
            log.error("worker lost a call", extra={"call": call_of(attempt_id)})
            self._release(attempt_id)
            self._on_lost(attempt_id)

    def _release(self, attempt_id: AttemptId) -> None:
        """Free a line; this is the only place where one becomes free."""
        worker = self._by_call.pop(attempt_id, None)
        if worker is not None:
            loop = asyncio.get_running_loop()
            worker.give_up(attempt_id)
            worker.idle_since_s = loop.time()
            if worker.failing and not worker.calls and not worker.stopping:
                worker.retire()
            loop.call_later(COOLING_S, self._cooled, worker)
            self._on_free(attempt_id)
            self._notify()

    def _cooled(self, worker: WorkerHandle) -> None:
        if worker.cooled():
            self._notify()

    def _exited(self, worker: WorkerHandle) -> None:
        if not worker.lines:
            self._starting -= 1
            self._failures += 1
            self._failed_slots.add(worker.slot)
        self._workers.pop(worker.slot, None)
        lost = list(worker.calls)
        if not worker.stopping:
            log.error("worker died", extra={"pid": worker.child.pid if worker.child else None, "calls": len(lost)})
        for attempt_id in lost:
            self._release(attempt_id)
            self._on_lost(attempt_id)
        self._notify()

    def _notify(self) -> None:
        self._spawn(self._announce())

    async def _announce(self) -> None:
        async with self._gone:
            self._gone.notify_all()
        self._on_room()
        self._refill()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
