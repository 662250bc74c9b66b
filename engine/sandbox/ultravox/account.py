"""A simulated account: its API key, its limits, the table of its calls, and the check of who may join one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.speech import speech
from engine.sandbox.ultravox.admission import Admission
from engine.sandbox.ultravox.agent_socket import Refusal
from engine.sandbox.ultravox.call import SimulatedCall
from engine.sandbox.ultravox.conversation import Conversation
from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import Knobs
from engine.sandbox.ultravox.requests import CallSettings

_REMEMBERED_CALLS: Final = 1000
_JOIN_SUFFIX: Final = "/server_web_socket"


class Account:
    """``api_key`` is the only key accepted; None accepts any key that is not empty. When ``strict``, an unknown request
    field is a 400. The newest ``capture_s`` seconds of each caller's audio are kept.

    ``calls`` holds the last 1000 by id, in order of creation. ``faults`` holds those that belong to no call. ``knobs``
    may be replaced at any time.
    """

    def __init__(
        self, authority: str, *, api_key: str | None, dialogue: Dialogue, strict: bool, capture_s: float, knobs: Knobs
    ) -> None:
        self.api_key = api_key
        self.strict = strict
        self.knobs = knobs
        self.calls: dict[str, SimulatedCall] = {}
        self.faults = ClientFaults()
        self.admission = Admission(self.faults)
        self._authority = authority
        self._dialogue = dialogue
        self._capture_s = capture_s

    @property
    def conversations(self) -> list[Conversation]:
        """The conversations of the calls that were joined, in order of creation."""
        return [call.conversation for call in self.calls.values() if call.conversation is not None]

    @property
    def live_calls(self) -> int:
        return sum(call.ended is None for call in self.calls.values())

    async def create(self, settings: CallSettings) -> SimulatedCall:
        """A new call. The audio of its agent's lines is made beforehand."""
        loop = asyncio.get_running_loop()
        texts = [*self._dialogue.agent, settings.first.text, settings.time_exceeded]
        texts += [prompt.text for prompt in settings.inactivity]
        voice = _voice(settings.output_hz)
        await asyncio.to_thread(lambda: [voice(text) for text in texts if text])
        call_id = str(uuid.uuid4())
        join_url = f"ws://{self._authority}/calls/{call_id}{_JOIN_SUFFIX}"
        call = SimulatedCall(call_id, join_url, settings, self.knobs.call, now=loop.time())
        for key in settings.unknown_keys:
            call.faults.note("unknown-request-field", loop.time(), key)
        self.calls[call_id] = call
        self._forget_old_calls()
        return call

    def admit(self, target: str, now: float) -> Conversation | Refusal:
        """Admit the one client that may join the call whose URL has this path and query."""
        url = urlsplit(target)
        call = self.calls.get(url.path.removeprefix("/calls/").removesuffix(_JOIN_SUFFIX))
        if call is None or not url.path.endswith(_JOIN_SUFFIX):
            return Refusal(close_code=4404)
        if call.conversation is not None:
            call.faults.note("second-join", now)
            return Refusal(status=HTTPStatus.CONFLICT, close_code=4409 if call.knobs.second_join_closes else None)
        if call.ended is not None:
            call.faults.note("join-after-end", now)
            return Refusal(status=HTTPStatus.GONE)
        call.client_version = next(iter(parse_qs(url.query).get("clientVersion", [])), None)
        return call.join(self._dialogue, _voice(call.settings.output_hz), now=now, capture_s=self._capture_s)

    def _forget_old_calls(self) -> None:
        ended = [call_id for call_id, call in self.calls.items() if call.ended is not None]
        for call_id in ended[: max(0, len(self.calls) - _REMEMBERED_CALLS)]:
            del self.calls[call_id]


def _voice(output_hz: int) -> Callable[[str], bytes]:
    return lambda text: speech(text, output_hz, "agent") if text else b""
