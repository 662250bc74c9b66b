"""The agent's side of one call: its session, requested while the phone rings, and the reason why the session ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from engine.agent_service import AgentService, AgentSession, SessionTerms
from engine.outcome import AGENT_LOST, Cause, Outcome, agent_failure, engine_error, max_duration
from engine.records import AiRecord, CallRequest
from media.errors import AgentBusy, AgentError, AgentRefused

log = logging.getLogger("trunkline.call")

_READ_BACK_S = 1.5
"""How long the record of an ended AI call waits for the service's reason."""
_END_REASONS = {
    Cause.AGENT_HANGUP: "agent_hangup",
    Cause.AGENT_LOST: "connection_error",
    Cause.WORKER_LOST: "connection_error",
}
"""The end reason of a session when the service does not give one. For every other cause it is ``hangup``."""


class AgentSide:
    """Asks for a session once; then calls ``ready`` with it, or ``failed`` with the outcome. Neither after ``close``.

    A session that the call has not joined is given back, even if it is made only after the call's end.
    """

    def __init__(
        self,
        service: AgentService,
        request: CallRequest,
        *,
        ready: Callable[[AgentSession], None],
        failed: Callable[[Outcome], None],
    ) -> None:
        self._service = service
        self._request = request
        self._ready = ready
        self._failed = failed
        self._asking: asyncio.Task[None] | None = None
        self._session: AgentSession | None = None
        self._gave_up = asyncio.Event()
        self._closed = False

    def ask(self, terms: SessionTerms) -> None:
        """Ask the service for a session; asking again does nothing."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(terms))

    def wait_no_more(self) -> None:
        """From now on, treat a busy service as a refusal."""
        self._gave_up.set()

    def close(self, *, joined: bool) -> None:
        """The call is over. ``joined``: the agent has heard the callee."""
        self._closed = True
        self.wait_no_more()
        if self._session is not None and not joined:
            self._service.give_back(self._session)

    async def end_reason(self, ai: AiRecord, cause: Cause) -> str | None:
        """Why the session ended, in a call that ended by ``cause``: the service's reason, if it gives one soon."""
        if self._session is None:
            return None
        if ai.joined_at is None:
            return "unjoined"
        reason = await self._service.end_reason(self._session.ultravox_call_id, _READ_BACK_S)
        return reason or _END_REASONS.get(cause, "hangup")

    @staticmethod
    def judge(outcome: Outcome, reason: str | None, max_duration_s: float) -> Outcome:
        """The call's outcome, given the session's end reason: a closed session does not always mean a hang-up."""
        if outcome.cause is not Cause.AGENT_HANGUP:
            return outcome
        match reason:
            case "timeout":
                return max_duration(max_duration_s)
            case "connection_error" | "system_error":
                return AGENT_LOST
            case _:
                return outcome

    async def _ask(self, terms: SessionTerms) -> None:
        try:
            session = await self._service.create(self._request, terms, self._gave_up)
            if self._closed:
                self._service.give_back(session)
            else:
                self._session = session
                self._ready(session)
        except AgentRefused as error:
            self._fail(agent_failure(Cause.AGENT_REFUSED, str(error)))
        except AgentBusy as error:
            self._fail(agent_failure(Cause.AGENT_BUSY, str(error)))
        except AgentError as error:
            self._fail(agent_failure(Cause.AGENT_UNREACHABLE, str(error)))
        except Exception:
            log.exception("could not ask for the agent's session or join it")
            self._fail(engine_error("An internal error ended the call."))

    def _fail(self, outcome: Outcome) -> None:
        if not self._closed:
            self._failed(outcome)
