"""One call's task: what it decides, writes and tells, whatever order things happen in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.agent_service import AgentSession, SessionTerms
from engine.calls import call as call_module
from engine.calls import ledger
from engine.calls.call import Call, CallLimits
from engine.calls.ledger import Ledger, first_kinds
from engine.calls.pacer import DialGrant, Ticket
from engine.errors import StoreUnavailable, TrunkUnavailable
from engine.messages.commands import Command, Dial, HangUp, JoinAgent, TrunkAccount
from engine.messages.events import AgentJoined, AgentLeft, Answered, AttemptEnded, CallEvent, Progress, Transcribed
from engine.outcome import AGENT_HANGUP, CALLEE_HANGUP, CALLER_HANGUP, TRUNK_SILENT, Cause, Outcome
from engine.records import (
    AgentSettings,
    AiRecord,
    AiStatus,
    AttemptId,
    CallChange,
    CallId,
    CallRecord,
    CallRequest,
    Environment,
    SipCallId,
    Speaker,
    Status,
    TranscriptTurn,
    attempt_id_of,
)
from engine.sip.causes import refusal
from engine.store.memory import MemoryStore
from engine.trunks.trunks import ConfiguredTrunks, Trunk
from engine.webhooks.subscriptions import subscribe
from media.errors import AgentError, AgentUnreachable
from tests.engine.store.slow import SlowStore

ID = CallId("6f0c")
FIRST = attempt_id_of(ID, 1)
LIMITS = CallLimits(ring_timeout_s=30, queue_timeout_s=1, default_max_duration_s=60)
TRUNK = Trunk(account=TrunkAccount(name="main", uri="sip:carrier.example", codecs=("PCMU",)), provider="sip")


class FakeLines:
    """Lines without a worker behind them, through the first trunk of each route; commands are kept."""

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
            tell, self.dead_worker = self.dead_worker, None
            tell(attempt_id)
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
    """An agent service that answers what it was told to answer."""

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
    """An agent service that makes no session before it is let."""

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
        self.told: list[Status] = []
        request = CallRequest(
            from_number="+14155550100",
            to_number="+14155550111",
            agent=AgentSettings(system_prompt="Be kind.") if ai else None,
        )
        record = CallRecord(
            id=ID,
            sip_call_id=SipCallId("CA1"),
            environment=Environment.LIVE,
            request=request,
            provider="sip",
            trunk="main",
            status=Status.INITIATED,
            created_at=datetime.now(UTC),
            ai=AiRecord() if ai else None,
        )
        self.first = record
        self.call = Call(
            record,
            tuple(trunk.name for trunk in trunks),
            queue=self.queue,
            trunks=ConfiguredTrunks(trunks),
            agents=self.agents,
            store=self.store,
            limits=LIMITS,
            publish=lambda changed: self.told.append(changed.status),
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
        finals = [status for status in self.told if status.final]
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


async def test_a_plain_call_rings_is_answered_and_ends_by_the_callee() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        for event in (progress(100), progress(180), progress(180), answered(), ended(CALLEE_HANGUP)):
            call.deliver(event)
    rig.assert_outcome(Status.COMPLETED, Cause.CALLEE_HANGUP)
    assert rig.told == [Status.RINGING, Status.ANSWERED, Status.COMPLETED]
    kinds = [change.kind for change in await rig.store.changes(ID)]
    assert kinds == ["voice.initiated", "voice.ringing", "voice.answered", "voice.completed"]
    assert rig.agents.created == 0


async def test_a_refused_call_fails_with_the_far_ends_reason_and_costs_no_agent() -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        call.deliver(ended(refusal(486, "Busy Here", 17)))
    record = rig.assert_outcome(Status.FAILED, Cause.BUSY)
    assert record.outcome is not None and record.outcome.q850 == 17
    assert rig.agents.created == 0


@pytest.mark.parametrize(("first", "least_s", "most_s"), [(progress(180), 20, 30), (answered(), 0, 0)])
async def test_the_agents_session_waits_for_us_as_long_as_the_phone_may_still_ring(
    first: CallEvent, least_s: float, most_s: float
) -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        call.deliver(first)
        await rig.queue.sent(JoinAgent)
        call.deliver(ended(CALLEE_HANGUP))
    assert least_s <= rig.agents.rings_for_s <= most_s


async def test_the_agents_session_is_made_at_the_first_ring_and_only_once() -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        for event in (progress(180), progress(183)):
            call.deliver(event)
        join = await rig.queue.sent(JoinAgent)
        assert isinstance(join, JoinAgent) and join.sample_rate_hz == 8000
        call.deliver(answered())
        call.deliver(AgentJoined(attempt_id=FIRST))
        call.deliver(AgentLeft(attempt_id=FIRST, code=1000, by_agent=True))
        call.deliver(ended(AGENT_HANGUP))
    record = rig.assert_outcome(Status.COMPLETED, Cause.AGENT_HANGUP)
    assert rig.agents.created == 1
    assert record.ai is not None
    assert (record.ai.status, record.ai.end_reason, record.ai.ultravox_call_id) == (AiStatus.ENDED, "hangup", "uv")


async def test_an_answer_without_any_ring_makes_the_agents_session_too() -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        call.deliver(answered())
        await rig.queue.sent(JoinAgent)
        call.deliver(ended(CALLEE_HANGUP))
    assert rig.agents.created == 1


async def test_the_agent_is_joined_while_a_slow_store_still_writes_the_answer() -> None:
    store = SlowStore()
    rig = Rig(ai=True, store=store)
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(answered())
        await rig.queue.sent(JoinAgent)
        assert (call.record.status, rig.told) == (Status.INITIATED, []), "nothing is told before it is written"
        store.free.set()
        call.deliver(AgentJoined(attempt_id=FIRST))
        call.deliver(ended(CALLEE_HANGUP))
    kinds = [change.kind for change in await rig.store.changes(ID)]
    assert kinds[2:5] == ["voice.answered", "voice.ai.created", "voice.ai.joined"]


async def test_a_refusing_agent_service_cancels_the_ringing_phone() -> None:
    rig = Rig(ai=True, agents=FakeAgents(error=AgentUnreachable("Ultravox did not answer.")))
    async with rig.dialled() as call:
        call.deliver(progress(180))
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        assert hang_up.outcome.cause is Cause.AGENT_UNREACHABLE
        call.deliver(ended(hang_up.outcome))
    record = rig.assert_outcome(Status.FAILED, Cause.AGENT_UNREACHABLE)
    assert record.outcome is not None and record.outcome.detail == "Ultravox did not answer."


async def test_delete_while_ringing_cancels_and_fails() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        call.deliver(progress(180))
        await asyncio.sleep(0.01)
        call.end()
        call.end()
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
    rig.assert_outcome(Status.FAILED, Cause.CANCELED)


async def test_delete_after_the_answer_hangs_up_and_completes() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        call.deliver(answered())
        await asyncio.sleep(0.01)
        call.end()
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
    rig.assert_outcome(Status.COMPLETED, Cause.CALLER_HANGUP)


async def test_delete_hangs_up_while_a_slow_store_still_writes_the_answer() -> None:
    store = SlowStore()
    rig = Rig(store=store)
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(answered())
        await store.asked.wait()
        call.end()
        assert isinstance(rig.queue.commands[-1], HangUp)
        store.free.set()
        call.deliver(ended(CALLER_HANGUP))
    rig.assert_outcome(Status.COMPLETED, Cause.CALLER_HANGUP)
    assert rig.told == [Status.ANSWERED, Status.COMPLETED]
    assert sum(isinstance(command, HangUp) for command in rig.queue.commands) == 2, "one to end it, one to leave"


async def test_delete_after_an_answer_that_a_slow_store_kept_waiting_is_the_callers_hangup() -> None:
    store = SlowStore()
    rig = Rig(store=store)
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(progress(180))
        await store.asked.wait()
        call.deliver(answered())
        call.end()
        store.free.set()
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
    assert rig.assert_outcome(Status.COMPLETED, Cause.CALLER_HANGUP).answered_at is not None


async def test_a_session_made_after_the_hangup_is_not_joined_and_is_given_back() -> None:
    store, agents = SlowStore(), SlowAgents()
    rig = Rig(ai=True, agents=agents, store=store)
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(answered())
        await store.asked.wait()
        call.end()
        agents.free.set()
        await until(lambda: agents.created == 1)
        store.free.set()
        call.deliver(ended(CALLER_HANGUP))
    assert not any(isinstance(command, JoinAgent) for command in rig.queue.commands)
    assert (rig.agents.created, rig.agents.given_back) == (1, 1)


async def test_a_dead_worker_ends_its_call_with_its_own_cause() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        call.deliver(answered())
        call.lost(FIRST)
    rig.assert_outcome(Status.COMPLETED, Cause.WORKER_LOST)


async def test_a_worker_that_died_before_it_was_told_to_dial_is_replaced_by_another() -> None:
    rig = Rig()
    rig.queue.dead_worker = rig.call.lost
    async with rig.dialled() as call:
        assert [ticket.attempt_id for ticket in rig.queue.asked] == [FIRST, FIRST]
        assert [dial.attempt_id for dial in rig.queue.dials()] == [FIRST]
        call.deliver(answered())
        call.deliver(ended(CALLEE_HANGUP))
    assert len(rig.assert_outcome(Status.COMPLETED, Cause.CALLEE_HANGUP).attempts) == 1


async def test_a_call_that_finds_no_line_fails_naming_the_limit() -> None:
    rig = Rig(queue=FakeLines(full=True))
    rig.call._limits = CallLimits(ring_timeout_s=1, queue_timeout_s=0.01, default_max_duration_s=1)
    await rig.accept()
    await rig.call.run()
    record = rig.assert_outcome(Status.FAILED, Cause.NO_CAPACITY)
    assert record.outcome is not None
    assert record.outcome.detail == "The call waited 0.01 s (sip.queue_timeout) for sip.max_calls."
    assert rig.queue.withdrawn == [FIRST]


async def test_delete_while_waiting_for_a_line_ends_the_call_at_once() -> None:
    rig = Rig(queue=FakeLines(full=True))
    await rig.accept()
    task = asyncio.create_task(rig.call.run())
    await asyncio.sleep(0)
    rig.call.end()
    async with asyncio.timeout(30):
        await task
    rig.assert_outcome(Status.FAILED, Cause.CANCELED)


@pytest.mark.parametrize(
    ("event", "cause"),
    [(None, Cause.TRUNK_TIMEOUT), (progress(180), Cause.NO_ANSWER), (answered(), Cause.MAX_DURATION)],
    ids=["no response", "ringing", "answered"],
)
async def test_a_limit_that_passes_hangs_up_with_its_own_cause(event: CallEvent | None, cause: Cause) -> None:
    rig = Rig()
    rig.call._limits = CallLimits(ring_timeout_s=0.05, queue_timeout_s=1, default_max_duration_s=0.05)
    async with rig.dialled() as call:
        if event is not None:
            call.deliver(event)
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
    rig.assert_outcome(Status.COMPLETED if cause is Cause.MAX_DURATION else Status.FAILED, cause)


async def test_transcript_lines_are_stored_as_they_come_in_order_of_their_ordinals() -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        call.deliver(answered())
        for ordinal, text in ((1, "Hi"), (0, "Hello"), (1, "Hi there")):
            turn = TranscriptTurn(ordinal=ordinal, speaker=Speaker.USER, text=text)
            call.deliver(Transcribed(attempt_id=FIRST, turn=turn))
        call.deliver(ended(CALLEE_HANGUP))
    ai = rig.call.record.ai
    assert ai is not None
    assert [line.text for line in ai.transcript] == ["Hello", "Hi there"]


async def test_a_late_ring_after_the_answer_changes_nothing() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        for event in (answered(), progress(180), ended(CALLEE_HANGUP)):
            call.deliver(event)
    assert rig.told == [Status.ANSWERED, Status.COMPLETED]


async def test_an_ai_calls_last_changes_tell_of_the_agents_end_and_then_of_the_calls_with_the_final_record() -> None:
    rig = Rig(ai=True)
    webhook = subscribe(Environment.LIVE, "https://example.com/", ["voice.*"], datetime.now(UTC))
    await rig.store.add_webhook(webhook)
    async with rig.dialled() as call:
        for event in (progress(180), answered(), ended(CALLEE_HANGUP)):
            call.deliver(event)
    kinds = [change.kind for change in await rig.store.changes(ID)]
    assert kinds[-2:] == ["voice.ai.ended", "voice.completed"]
    assert kinds.count("voice.ai.ended") == 1
    told = [delivery.event for delivery in await rig.store.list_deliveries(webhook.id, 9)][::-1]
    assert told == [
        "voice.initiated",
        "voice.ai.initiated",
        "voice.ringing",
        "voice.answered",
        "voice.ai.ended",
        "voice.completed",
    ]


async def test_a_line_over_which_nothing_can_be_dialled_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(trunks: ConfiguredTrunks, name: str, slot: int) -> TrunkAccount:
        raise TrunkUnavailable("The trunk is gone.", retry_after_s=1)

    monkeypatch.setattr(ConfiguredTrunks, "account", unavailable)
    rig = Rig()
    await rig.accept()
    await rig.call.run()
    rig.assert_outcome(Status.FAILED, Cause.TRUNK_UNAVAILABLE)
    assert rig.queue.withdrawn == [FIRST]


BACKUP = replace(TRUNK, account=replace(TRUNK.account, name="backup", uri="sip:backup.example"))
BOTH = (TRUNK, BACKUP)
SECOND = attempt_id_of(ID, 2)


def second(event: Any) -> Any:
    return replace(event, attempt_id=SECOND)


@pytest.mark.parametrize("before", [(), (progress(100),)], ids=["trying", "proceeding"])
@pytest.mark.parametrize(
    "outcome",
    [refusal(503, ""), refusal(408, ""), refusal(500, "", 38), refusal(0, "ETIMEDOUT", by_remote=False), TRUNK_SILENT],
    ids=["503", "408", "500 with Q.850 38", "transport error", "silence"],
)
async def test_a_trunk_that_failed_is_followed_by_the_next_one(before: tuple[CallEvent, ...], outcome: Outcome) -> None:
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        for event in (*before, ended(outcome)):
            call.deliver(event)
        await until(lambda: len(rig.queue.dials()) == 2)
        for event in (second(progress(180)), second(answered()), second(ended(CALLEE_HANGUP))):
            call.deliver(event)
    record = rig.assert_outcome(Status.COMPLETED, Cause.CALLEE_HANGUP)
    dials = rig.queue.dials()
    assert [dial.trunk.name for dial in dials] == ["main", "backup"]
    assert [dial.sip_call_id for dial in dials] == ["CA1", "CA1-2"]
    assert [(attempt.trunk, attempt.outcome) for attempt in record.attempts] == [
        ("main", outcome),
        ("backup", CALLEE_HANGUP),
    ]
    assert record.trunk == "backup"
    assert rig.told.count(Status.RINGING) == 1


async def test_a_call_that_fails_over_moves_as_the_table_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trunkline.call")
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        for event in (progress(100), ended(refusal(503, ""))):
            call.deliver(event)
        await until(lambda: len(rig.queue.dials()) == 2)
        for event in (second(progress(180)), second(answered()), second(ended(CALLEE_HANGUP))):
            call.deliver(event)
    moves = [record.getMessage() for record in caplog.records if record.getMessage().startswith("= ")]
    assert moves == ["= proceeding", "= trying", "= early", "= confirmed", "= terminated"]


@pytest.mark.parametrize(
    ("before", "outcome"),
    [
        ((), refusal(486, "")),
        ((), refusal(404, "")),
        ((), refusal(480, "")),
        ((), refusal(603, "")),
        ((), refusal(503, "", 17)),
        ((), refusal(503, "", 21)),
        ((progress(180),), refusal(503, "")),
        ((progress(183),), refusal(0, "", by_remote=False)),
    ],
    ids=["486", "404", "480", "603", "503 busy", "503 rejected", "503 after 180", "lost after 183"],
)
async def test_what_concerns_the_callee_or_came_after_the_ring_ends_the_call(
    before: tuple[CallEvent, ...], outcome: Outcome
) -> None:
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        for event in (*before, ended(outcome)):
            call.deliver(event)
    record = rig.assert_outcome(Status.FAILED, outcome.cause)
    assert len(rig.queue.dials()) == 1
    assert [attempt.trunk for attempt in record.attempts] == ["main"]
    assert record.outcome == outcome


async def test_when_every_trunk_failed_the_last_ones_cause_stands_and_their_number_is_told() -> None:
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        call.deliver(ended(refusal(500, "First")))
        await until(lambda: len(rig.queue.dials()) == 2)
        call.deliver(second(ended(refusal(503, "Second"))))
    record = rig.assert_outcome(Status.FAILED, Cause.TRUNK_UNAVAILABLE)
    assert record.outcome is not None
    assert (record.outcome.sip_code, record.outcome.detail) == (
        503,
        "The trunk cannot take calls now. 2 trunks were tried.",
    )


async def test_a_silent_trunk_is_given_up_and_what_it_says_later_changes_nothing() -> None:
    rig = Rig(trunks=(replace(TRUNK, response_timeout_s=0.01), BACKUP))
    async with rig.dialled() as call:
        await until(lambda: len(rig.queue.dials()) == 2)
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        assert (hang_up.attempt_id, hang_up.outcome) == (FIRST, TRUNK_SILENT)
        call.deliver(answered())
        call.deliver(ended(CALLEE_HANGUP))
        call.lost(FIRST)
        call.deliver(second(ended(refusal(486, ""))))
    record = rig.assert_outcome(Status.FAILED, Cause.BUSY)
    assert record.answered_at is None
    assert [attempt.outcome and attempt.outcome.cause for attempt in record.attempts] == [
        Cause.TRUNK_TIMEOUT,
        Cause.BUSY,
    ]


async def test_a_100_stops_the_wait_for_a_response() -> None:
    rig = Rig(trunks=(replace(TRUNK, response_timeout_s=0.05), BACKUP))
    async with rig.dialled() as call:
        call.deliver(progress(100))
        await asyncio.sleep(0.1)
        assert len(rig.queue.dials()) == 1
        call.deliver(ended(refusal(486, "")))


async def test_delete_between_two_trunks_dials_no_more() -> None:
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        rig.queue.full = True
        call.deliver(ended(refusal(503, "")))
        await until(lambda: len(rig.queue.asked) == 2)
        call.end()
    record = rig.assert_outcome(Status.FAILED, Cause.CANCELED)
    assert rig.queue.withdrawn == [SECOND]
    assert len(record.attempts) == 1


async def test_the_next_trunks_line_that_does_not_come_leaves_the_first_ones_word() -> None:
    rig = Rig(trunks=BOTH)
    rig.call._limits = CallLimits(ring_timeout_s=1, queue_timeout_s=0.01, default_max_duration_s=1)
    async with rig.dialled() as call:
        rig.queue.full = True
        call.deliver(ended(refusal(503, "Busy")))
    rig.assert_outcome(Status.FAILED, Cause.TRUNK_UNAVAILABLE)


async def test_only_the_first_attempt_of_an_ai_call_counts_for_the_agent_services_rate() -> None:
    rig = Rig(ai=True, trunks=BOTH)
    async with rig.dialled() as call:
        call.deliver(ended(refusal(503, "")))
        await until(lambda: len(rig.queue.dials()) == 2)
        call.deliver(second(ended(refusal(486, ""))))
    assert [ticket.new_session for ticket in rig.queue.asked] == [True, False]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0)


class FailingStore(MemoryStore):
    """A store that can be put out of order, and says of each write what it tried."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False
        self.tried = asyncio.Event()

    async def save(self, call: CallRecord, *changes: CallChange) -> None:
        self.tried.set()
        if self.failing:
            raise StoreUnavailable("database or disk is full")
        await super().save(call, *changes)


async def test_a_store_that_fails_keeps_a_change_untold_until_it_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "_STORE_REST_S", 0.01)
    store = FailingStore()
    rig = Rig(store=store)
    async with rig.dialled() as call:
        store.failing = True
        call.deliver(progress(180))
        await store.tried.wait()
        await asyncio.sleep(0.03)
        assert (call.record.status, rig.told) == (Status.INITIATED, [])
        store.failing = False
        for event in (answered(), ended(CALLEE_HANGUP)):
            call.deliver(event)
    rig.assert_outcome(Status.COMPLETED, Cause.CALLEE_HANGUP)
    assert rig.told == [Status.RINGING, Status.ANSWERED, Status.COMPLETED]


async def test_a_call_is_hung_up_also_while_the_store_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_STORE_REST_S", 0.01)
    store = FailingStore()
    rig = Rig(store=store)
    async with rig.dialled() as call:
        store.failing = True
        call.deliver(answered())
        await store.tried.wait()
        await asyncio.sleep(0.03)
        call.end()
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
        store.failing = False
    rig.assert_outcome(Status.COMPLETED, Cause.CALLER_HANGUP)


async def test_a_call_past_its_limit_is_hung_up_while_a_store_stands_still_and_its_record_is_whole_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_module, "_OVERDUE_S", 0.0)
    store = SlowStore()
    rig = Rig(store=store)
    rig.call._ledger.record = replace(rig.first, request=replace(rig.first.request, max_duration_s=0.02))
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(answered())
        await store.asked.wait()
        await asyncio.sleep(0.05)
        call.check()
        hang_up = rig.queue.commands[-1]
        assert isinstance(hang_up, HangUp)
        call.check()
        assert rig.told == []
        store.free.set()
        call.deliver(ended(hang_up.outcome))
    record = rig.assert_outcome(Status.COMPLETED, Cause.MAX_DURATION)
    assert record.answered_at is not None
    assert rig.told == [Status.ANSWERED, Status.COMPLETED]


async def test_a_call_that_is_stuck_past_its_limit_is_ended_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "_OVERDUE_S", 0.02)
    rig = Rig()
    stuck = asyncio.Event()

    async def never(call_ledger: Ledger, turn: TranscriptTurn) -> None:
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Ledger, "add_turn", never)
    rig.call._ledger.record = replace(rig.first, request=replace(rig.first.request, max_duration_s=0.02))
    async with rig.dialled() as call:
        call.deliver(answered())
        call.deliver(Transcribed(attempt_id=FIRST, turn=TranscriptTurn(ordinal=1, speaker=Speaker.USER, text="Hm")))
        await stuck.wait()
        call.check()
        assert call.record.status is Status.ANSWERED
        await asyncio.sleep(0.05)
        call.check()
    rig.assert_outcome(Status.COMPLETED, Cause.MAX_DURATION)
    assert isinstance(rig.queue.commands[-1], HangUp)
