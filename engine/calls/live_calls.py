"""The live calls: their tasks, the delivery of events to them, and the watchers of their records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from engine.calls.call import Call
from engine.messages.events import CallEvent
from engine.outcome import Outcome
from engine.records import AttemptId, CallId, CallRecord, Environment, call_of


class LiveCalls:
    """Each call from ``carry`` until it is over. ``on_over`` is called once for each, with its last record.

    One event loop; nothing here blocks.
    """

    def __init__(self, on_over: Callable[[CallRecord], None]) -> None:
        self._on_over = on_over
        self._calls: dict[CallId, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: dict[CallId, set[asyncio.Queue[CallRecord]]] = {}
        self._ended_with: Outcome | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def get(self, call_id: CallId) -> Call | None:
        """The call, or None when it is over or unknown."""
        return self._calls.get(call_id)

    def carry(self, call: Call, line: contextlib.AbstractContextManager[object]) -> None:
        """Run the call in its own task, inside ``line``: the line is given back when the call is over."""
        self._calls[call.record.id] = call
        if self._ended_with is not None:
            call.end(self._ended_with)
        task = asyncio.create_task(self._run(call, line))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end_all(self, outcome: Outcome) -> None:
        """End every call; one that is still being accepted ends as soon as it is carried."""
        self._ended_with = outcome
        for call in self._calls.values():
            call.end(outcome)

    def sweep(self, has_line: Callable[[Environment, AttemptId], bool]) -> None:
        """Find the calls that are stuck, and end them: those whose line is gone, and those past a limit.

        To be called each second.
        """
        for call in self._calls.values():
            attempt_id = call.attempt_id
            if attempt_id is not None and not has_line(call.record.environment, attempt_id):
                call.lost(attempt_id)  # changes nothing if the attempt's end waits in the call's queue already
            call.check()

    # -- events of workers ---------------------------------------------------------------------------------------------

    def deliver(self, event: CallEvent) -> None:
        """Hand an event to its call; drop it if the call's record is final already."""
        if (call := self._calls.get(call_of(event.attempt_id))) is not None:
            call.deliver(event)

    def lost(self, attempt_id: AttemptId) -> None:
        """Notify the call that the worker of this attempt died."""
        if (call := self._calls.get(call_of(attempt_id))) is not None:
            call.lost(attempt_id)

    # -- records -------------------------------------------------------------------------------------------------------

    def publish(self, record: CallRecord) -> None:
        """A call's record changed, and the change is committed."""
        for changes in self._watchers.get(record.id, ()):
            changes.put_nowait(record)

    @contextlib.contextmanager
    def changes(self, call_id: CallId) -> Iterator[asyncio.Queue[CallRecord]]:
        """A queue that gets each record of the call that is published until the block ends."""
        changes: asyncio.Queue[CallRecord] = asyncio.Queue()
        watchers = self._watchers.setdefault(call_id, set())
        watchers.add(changes)
        try:
            yield changes
        finally:
            watchers.discard(changes)
            if not watchers:
                self._watchers.pop(call_id, None)

    # -- inside --------------------------------------------------------------------------------------------------------

    async def _run(self, call: Call, line: contextlib.AbstractContextManager[object]) -> None:
        with line:
            try:
                await call.run()
            finally:
                del self._calls[call.record.id]
                self._on_over(call.record)
