"""The store's interface for calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from engine.records import (
    CallChange,
    CallFilter,
    CallId,
    CallRecord,
    CountedCall,
    Environment,
    IdempotencyClaim,
    TranscriptTurn,
)


class CallStore(Protocol):
    """The store of calls. Every method may be called concurrently on one event loop.

    When a writing method returns, its data is committed: it survives ``kill -9`` of this process. The same transaction
    queues the deliveries of each change to the webhooks that want it.
    """

    @property
    def writable(self) -> bool:
        """False when a write failed just now and none succeeded since. Every method may raise ``StoreUnavailable``."""
        ...

    async def add(self, call: CallRecord, claim: IdempotencyClaim | None, *changes: CallChange) -> CallRecord:
        """Write a new call with its first changes, in one transaction.

        Returns ``call``. When ``claim`` was made within the last 24 h with the same body, returns the earlier call and
        writes nothing. Raises ``IdempotencyConflict`` when the body differs. Of two claims made at the same moment, one
        wins and the other gets the winner's call.
        """
        ...

    async def save(self, call: CallRecord, *changes: CallChange) -> None:
        """Replace the call's row (not its transcript lines) and append the changes, in one transaction.

        A change is not written twice, even if an earlier try failed after its commit had reached the disk.
        """
        ...

    async def add_turn(self, call_id: CallId, turn: TranscriptTurn, at: datetime) -> None:
        """Append a transcript line; a second line of the same ordinal replaces the first."""
        ...

    async def get(self, call_id: CallId) -> CallRecord | None:
        """The call with its transcript in order of ordinals, or None."""
        ...

    async def claimed(self, claim: IdempotencyClaim) -> CallRecord | None:
        """The call that ``claim`` was answered with before, or None. Raises ``IdempotencyConflict``."""
        ...

    async def live(self) -> Sequence[CallRecord]:
        """Calls that are not final, oldest first: after a start, those that were live when the process died."""
        ...

    async def find(self, which: CallFilter, limit: int) -> Sequence[CallRecord]:
        """The newest ``limit`` calls that match, newest first, without their transcripts."""
        ...

    async def changes(self, call_id: CallId) -> Sequence[CallChange]:
        """The call's history, oldest first."""
        ...

    async def placed_since(self, at: datetime, environment: Environment) -> Sequence[CountedCall]:
        """The calls placed after ``at``, oldest first."""
        ...

    async def erase_conversation(self, call_id: CallId) -> None:
        """Erase a call's transcript, prompt and tools, also in its pending deliveries."""
        ...
