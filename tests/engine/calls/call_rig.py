"""One call with fake lines, a fake agent service and a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from engine.agent_service import AgentSession, SessionTerms
from engine.calls.call import Call, CallLimits
from engine.calls.ledger import first_kinds
from engine.calls.pacer import DialGrant, Ticket
from engine.messages.commands import Command, Dial
from engine.messages.events import Answered, AttemptEnded, Progress
from engine.outcome import Cause, Outcome
from engine.records import (
    AttemptId,
    CallChange,
    CallId,
    CallRecord,
    CallRequest,
    SipCallId,
    Status,
    attempt_id_of,
)
from engine.store.memory import MemoryStore
from engine.trunks.trunks import ConfiguredTrunks, Trunk
from media.errors import AgentError
from tests.engine.samples import KIND, call_record, request, trunk

ID = CallId("6f0c")
FIRST = attempt_id_of(ID, 1)
SECOND = attempt_id_of(ID, 2)
LIMITS = CallLimits(ring_timeout_s=30, queue_timeout_s=1, default_max_duration_s=60)
TRUNK = trunk()
BACKUP = replace(TRUNK, account=replace(TRUNK.account, name="backup", uri="sip:backup.example"))
BOTH = (TRUNK, BACKUP)


class FakeLines:
    """Lines without workers, each through the first trunk of the route; keeps the commands."""

    def __init__(self, *, full: bool = False) -> None:
        self.commands: list[Command] = []
        self.full = full
        self.dead_worker: Callable[[AttemptId], None] | None = None
        self.asked: list[Ticket] = []
        self.withdrawn: list[AttemptId] = []
        self.sent_at_s: dict[AttemptId, float] = {}

    def ask(self, ticket: Ticket, granted: Callable[[DialGrant], None]) -> None:
        self.asked.append(ticket)
        if not self.full:
            granted(DialGrant(attempt_id=ticket.attempt_id, trunk=ticket.route[0], slot=0))

    def withdraw(self, attempt_id: AttemptId) -> str:
        self.withdrawn.append(attempt_id)
        return "sip.max_calls"

    def send(self, attempt_id: AttemptId, command: Command) -> bool:
        if self.dead_worker is not None:
            lost, self.dead_worker = self.dead_worker, None
            lost(attempt_id)
            return False
        self.commands.append(command)
        return True

    def invite_sent(self, attempt_id: AttemptId, at_s: float) -> None:
        self.sent_at_s[attempt_id] = at_s

    def dials(self) -> list[Dial]:
        return [command for command in self.commands if isinstance(command, Dial)]

    async def sent(self, kind: type[Command]) -> Command:
        async with asyncio.timeout(30):
            while True:
                for command in self.commands:
                    if isinstance(command, kind):
                        return command
                await asyncio.sleep(0)


class FakeAgents:
    """An agent service that answers as it was made to."""

    def __init__(self, *, error: AgentError | None = None, end_reason: str = "hangup") -> None:
        self.error = error
        self.reason = end_reason
        self.created = 0
        self.rate_hz = 0
        self.rings_for_s = -1.0
        self.given_back = 0

    async def create(self, request: CallRequest, terms: SessionTerms, gave_up: asyncio.Event) -> AgentSession:
        self.created += 1
        self.rate_hz, self.rings_for_s = terms.sample_rate_hz, terms.rings_for_s
        if self.error is not None:
            raise self.error
        return AgentSession(ultravox_call_id="uv", join_url="ws://x", sample_rate_hz=terms.sample_rate_hz)

    def give_back(self, session: AgentSession) -> None:
        self.given_back += 1

    async def end_reason(self, ultravox_call_id: str, timeout_s: float) -> str | None:
        return self.reason


class SlowAgents(FakeAgents):
    """An agent service that makes no session before ``free`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()

    async def create(self, request: CallRequest, terms: SessionTerms, gave_up: asyncio.Event) -> AgentSession:
        await self.free.wait()
        return await super().create(request, terms, gave_up)


class Rig:
    def __init__(
        self,
        *,
        ai: bool = False,
        queue: FakeLines | None = None,
        agents: FakeAgents | None = None,
        trunks: tuple[Trunk, ...] = (TRUNK,),
        store: MemoryStore | None = None,
    ) -> None:
        self.queue = queue or FakeLines()
        self.agents = agents or FakeAgents()
        self.store = store or MemoryStore()
        self.published: list[Status] = []
        asked = request(agent=KIND if ai else None)
        record = call_record(id=ID, sip_call_id=SipCallId("CA1"), request=asked, created_at=datetime.now(UTC))
        self.first = record
        self.call = Call(
            record,
            tuple(trunk.name for trunk in trunks),
            queue=self.queue,
            trunks=ConfiguredTrunks(trunks),
            agents=self.agents,
            store=self.store,
            limits=LIMITS,
            publish=lambda changed: self.published.append(changed.status),
        )

    async def accept(self) -> None:
        now = datetime.now(UTC)
        changes = [CallChange(call_id=ID, kind=kind, at=now) for kind in first_kinds(self.first)]
        await self.store.add(self.first, None, *changes)

    @asynccontextmanager
    async def dialled(self) -> AsyncIterator[Call]:
        """The call's task runs; when the block ends the call must come to its final record by itself."""
        await self.accept()
        task = asyncio.create_task(self.call.run())
        await self.queue.sent(Dial)
        yield self.call
        async with asyncio.timeout(30):
            await task
        saved = await self.store.get(ID)
        assert saved is not None
        assert saved == self.call.record
        finals = [status for status in self.published if status.final]
        assert len(finals) == 1, "exactly one final status"

    def assert_outcome(self, status: Status, cause: Cause) -> CallRecord:
        record = self.call.record
        assert record.outcome is not None
        assert (record.status, record.outcome.cause) == (status, cause)
        assert record.ended_at is not None
        return record


def progress(code: int) -> Progress:
    return Progress(attempt_id=FIRST, code=code, reason="")


def answered() -> Answered:
    return Answered(attempt_id=FIRST, codec="PCMU", codec_rate_hz=8000)


def ended(outcome: Outcome) -> AttemptEnded:
    return AttemptEnded(attempt_id=FIRST, outcome=outcome, media={"rtpSent": 1})


def second(event: Any) -> Any:
    return replace(event, attempt_id=SECOND)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0)
