"""The agent's side of a call: asked for once, reported once, and believed about its end."""

from __future__ import annotations

import asyncio

import pytest

from engine.agent_service import AgentSession, SessionTerms
from engine.calls.agent import AgentSide
from engine.outcome import AGENT_HANGUP, CALLEE_HANGUP, Cause, Outcome
from engine.records import CallRequest
from media.errors import AgentBusy, AgentRefused, AgentUnreachable
from tests.engine.samples import KIND, request

REQUEST = request(agent=KIND)
TERMS = SessionTerms(sample_rate_hz=8000, max_duration_s=60, rings_for_s=9)
SESSION = AgentSession(ultravox_call_id="uv", join_url="ws://x", sample_rate_hz=8000)


class Service:
    """An agent service that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.asked = 0

    async def create(self, request: CallRequest, terms: SessionTerms, gave_up: asyncio.Event) -> AgentSession:
        self.asked += 1
        raise self._error

    def give_back(self, session: AgentSession) -> None:
        raise AssertionError("there is no session")

    async def end_reason(self, ultravox_call_id: str, timeout_s: float) -> str | None:
        raise AssertionError("there is no session")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (AgentRefused("No.", status=400), Cause.AGENT_REFUSED),
        (AgentBusy("Later.", status=429), Cause.AGENT_BUSY),
        (AgentUnreachable("Nobody."), Cause.AGENT_UNREACHABLE),
        (RuntimeError("a mistake of ours"), Cause.ENGINE_ERROR),
    ],
)
async def test_whatever_keeps_the_session_from_being_made_ends_the_call(error: Exception, cause: Cause) -> None:
    results: asyncio.Queue[AgentSession | Outcome] = asyncio.Queue()
    service = Service(error)
    side = AgentSide(service, REQUEST, ready=results.put_nowait, failed=results.put_nowait)
    for _ in range(2):
        side.ask(TERMS)
    outcome = await results.get()
    assert isinstance(outcome, Outcome)
    assert (outcome.cause, service.asked) == (cause, 1)


async def test_a_session_that_cannot_be_joined_ends_the_call_and_is_given_back() -> None:
    results: asyncio.Queue[AgentSession | Outcome] = asyncio.Queue()

    def broken(session: AgentSession) -> None:
        raise RuntimeError("a mistake of ours")

    service = SlowService()
    side = AgentSide(service, REQUEST, ready=broken, failed=results.put_nowait)
    service.go.set()
    side.ask(TERMS)
    outcome = await results.get()
    assert isinstance(outcome, Outcome) and outcome.cause is Cause.ENGINE_ERROR
    side.close(joined=False)
    assert service.given_back == [SESSION]


class SlowService(Service):
    """Makes a session, or fails, when ``go`` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(error or RuntimeError("unused"))
        self.fails = error is not None
        self.go = asyncio.Event()
        self.given_back: list[AgentSession] = []

    async def create(self, *_: object, **__: object) -> AgentSession:
        await self.go.wait()
        if self.fails:
            self.asked += 1
            raise self._error
        return SESSION

    def give_back(self, session: AgentSession) -> None:
        self.given_back.append(session)


@pytest.mark.parametrize("joined", [False, True])
async def test_a_session_that_the_call_did_not_join_is_given_back(joined: bool) -> None:
    results: asyncio.Queue[AgentSession | Outcome] = asyncio.Queue()
    service = SlowService()
    side = AgentSide(service, REQUEST, ready=results.put_nowait, failed=results.put_nowait)
    side.ask(TERMS)
    service.go.set()
    assert await results.get() is SESSION
    side.close(joined=joined)
    assert service.given_back == ([] if joined else [SESSION])


async def test_a_session_made_after_the_end_is_given_back_and_not_reported() -> None:
    results: asyncio.Queue[AgentSession | Outcome] = asyncio.Queue()
    service = SlowService()
    side = AgentSide(service, REQUEST, ready=results.put_nowait, failed=results.put_nowait)
    side.ask(TERMS)
    side.close(joined=False)
    service.go.set()
    async with asyncio.timeout(30):
        while not service.given_back:
            await asyncio.sleep(0)
    assert results.empty()


async def test_a_service_that_fails_after_the_end_is_no_news() -> None:
    results: asyncio.Queue[AgentSession | Outcome] = asyncio.Queue()
    service = SlowService(AgentUnreachable("Nobody."))
    side = AgentSide(service, REQUEST, ready=results.put_nowait, failed=results.put_nowait)
    side.ask(TERMS)
    side.close(joined=False)
    service.go.set()
    async with asyncio.timeout(30):
        while not service.asked:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert results.empty()


@pytest.mark.parametrize(
    ("outcome", "reason", "cause"),
    [
        (AGENT_HANGUP, "agent_hangup", Cause.AGENT_HANGUP),
        (AGENT_HANGUP, None, Cause.AGENT_HANGUP),
        (AGENT_HANGUP, "timeout", Cause.MAX_DURATION),
        (AGENT_HANGUP, "system_error", Cause.AGENT_LOST),
        (AGENT_HANGUP, "connection_error", Cause.AGENT_LOST),
        (CALLEE_HANGUP, "connection_error", Cause.CALLEE_HANGUP),
    ],
)
def test_a_close_is_the_agents_hanging_up_unless_the_service_says_otherwise(
    outcome: Outcome, reason: str | None, cause: Cause
) -> None:
    assert AgentSide.judge(outcome, reason, 60).cause is cause
