"""The agent service on Ultravox's REST API: creates sessions while the phone rings, reads their end reasons later."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from engine.agent_service import AgentSession, SessionTerms
from engine.records import CallRequest
from engine.sip.dtmf import PRESS_KEYS_TOOL
from media.errors import AgentError
from media.ultravox.connection import PendingSession
from media.ultravox.rest import AgentCallSpec, UltravoxApi

_JOIN_SLACK_S = 10.0
"""The service waits this much longer than the phone may ring for us to join: joining takes at most five seconds."""
_END_REASON_POLL_S = 0.1


class UltravoxService:
    """An ``AgentService`` (``engine.agent_service``). ``sample_rate_hz`` None means the rate of the call's codec.

    ``press_keys``: every agent may press telephone keys. ``hang_up_unjoined``: a session that is given back is joined
    and closed at once, because there is no other way to end one. Otherwise it ends at its ``joinTimeout``.
    """

    def __init__(
        self,
        api: UltravoxApi,
        *,
        sample_rate_hz: int | None = None,
        press_keys: bool = True,
        hang_up_unjoined: bool = False,
    ) -> None:
        self._api = api
        self._sample_rate_hz = sample_rate_hz
        self._tools = (PRESS_KEYS_TOOL,) if press_keys else ()
        self._tls = ssl.create_default_context() if hang_up_unjoined else None
        self._hanging_up: set[asyncio.Task[None]] = set()

    async def create(self, request: CallRequest, terms: SessionTerms, gave_up: asyncio.Event) -> AgentSession:
        agent = request.agent
        assert agent is not None
        rate_hz = self._sample_rate_hz or terms.sample_rate_hz
        created = await self._api.create_call(
            AgentCallSpec(
                system_prompt=agent.system_prompt,
                model=agent.model,
                voice=agent.voice,
                temperature=agent.temperature,
                first_speaker=agent.first_speaker,
                tools=(*agent.tools, *self._tools),
                max_duration_s=terms.max_duration_s,
                join_timeout_s=terms.rings_for_s + _JOIN_SLACK_S,
                sample_rate_hz=rate_hz,
                metadata=request.metadata,
            ),
            gave_up=gave_up,
        )
        return AgentSession(ultravox_call_id=created.call_id, join_url=created.join_url, sample_rate_hz=rate_hz)

    def give_back(self, session: AgentSession) -> None:
        if self._tls is not None:
            task = asyncio.create_task(_hang_up(session, self._tls))
            self._hanging_up.add(task)
            task.add_done_callback(self._hanging_up.discard)

    async def end_reason(self, ultravox_call_id: str, timeout_s: float) -> str | None:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    summary = await self._api.get_call(ultravox_call_id)
                    if summary.end_reason is not None:
                        return summary.end_reason
                    await asyncio.sleep(_END_REASON_POLL_S)
        except (TimeoutError, AgentError):
            return None

    def on_busy(self, notify: Callable[[float], None]) -> None:
        """Have ``notify`` called with the seconds for which the service wants no new session."""
        self._api.on_busy = notify

    async def aclose(self) -> None:
        """Close the connections to the service, once the last sessions given back are hung up."""
        if self._hanging_up:
            await asyncio.wait(self._hanging_up)
        await self._api.aclose()


async def _hang_up(session: AgentSession, tls: ssl.SSLContext) -> None:
    """Join the session and close it. It takes about six seconds at most; otherwise the session ends at its
    ``joinTimeout``."""
    over = asyncio.Event()
    with contextlib.suppress(AgentError):
        connection = await PendingSession(session.join_url, tls=tls).join(
            on_audio=lambda pcm: None, on_event=lambda event: None, on_closed=lambda closed: over.set()
        )
        connection.close()
        await over.wait()
