"""Ultravox's REST interface, as far as one call needs it: create the call, ask how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from media.errors import AgentBusy, AgentError, AgentRefused, AgentUnreachable

_MAX_ANSWER = 4 * 2**20
_MAX_DETAIL = 300
_BUSY = (429, 503)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 16.0
"""Between attempts when Ultravox is busy and does not say for how long."""
_LONGEST_RETRY_AFTER_S = 3600.0
_RECONNECT_PAUSE_S = 0.25

_ADVICE = {
    401: "Ultravox did not accept the API key. Check ultravox.api_key.",
    402: "The Ultravox account's call allowance is used up. Look at its plan and billing.",
    403: "The Ultravox account may not do this. Check its plan, and which account ultravox.api_key belongs to.",
    404: "Ultravox knows nothing there. Check ultravox.base_url.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCallSpec:
    """What an Ultravox call is to be. ``tools`` are sent as they are, each as a ``temporaryTool``.

    ``join_timeout_s`` must outlast the ringing. ``client_buffer_ms`` is how far ahead of playback audio may come;
    a large one asks for a client that obeys ``ClearPlayback``.
    """

    system_prompt: str
    sample_rate_hz: int
    max_duration_s: float
    join_timeout_s: float
    model: str | None = None
    voice: str | None = None
    temperature: float | None = None
    first_speaker: Literal["agent", "user"] = "agent"
    tools: tuple[Mapping[str, Any], ...] = ()
    client_buffer_ms: int = 30_000
    metadata: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The JSON of ``POST /api/calls``. ``hangUp`` is Ultravox's own unless a client's tool has the name."""
        tools: list[dict[str, Any]] = [{"temporaryTool": tool} for tool in self.tools]
        if all(tool.get("modelToolName") != "hangUp" for tool in self.tools):
            tools.append({"toolName": "hangUp"})
        optional = {"model": self.model, "voice": self.voice, "temperature": self.temperature}
        return {
            "systemPrompt": self.system_prompt,
            **{key: value for key, value in optional.items() if value is not None},
            "firstSpeakerSettings": {self.first_speaker: {}},  # never beside firstSpeaker, which is deprecated
            "selectedTools": tools,
            "maxDuration": _duration(self.max_duration_s),
            "joinTimeout": _duration(self.join_timeout_s),
            "medium": {
                "serverWebSocket": {
                    "inputSampleRate": self.sample_rate_hz,
                    "outputSampleRate": self.sample_rate_hz,
                    "clientBufferSizeMs": self.client_buffer_ms,
                    "mediaIdleTimeout": "30s",
                }
            },
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedCall:
    """A call that waits to be joined. The join URL is its credential."""

    call_id: str
    join_url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary:
    """A call as Ultravox remembers it. ``end_reason`` is Ultravox's word, None while it has not judged."""

    call_id: str
    ended: bool
    end_reason: str | None


class UltravoxApi:
    """A client with one pool of kept-alive connections, for one event loop. Every method raises ``AgentError`` only.

    Redirects are not followed, and answers are bounded in size and, ``connect_s`` plus ``read_s``, in time.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        connect_s: float = 5.0,
        read_s: float = 10.0,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._answer_s = connect_s + read_s
        self.on_busy: Callable[[float], None] = lambda wait_s: None
        """Told how long Ultravox wants to be left alone, each time it says that it is at a limit."""
        # By no proxy of the environment: the WebSocket has no way through it, and it could be given the key in clear.
        self._client = client or httpx.AsyncClient(
            timeout=httpx.Timeout(read_s, connect=connect_s), verify=httpx.create_ssl_context(), trust_env=False
        )

    async def create_call(self, spec: AgentCallSpec, *, gave_up: asyncio.Event) -> CreatedCall:
        """Create a call. While Ultravox is busy, try again when it says so, until it has room or ``gave_up`` is set.

        No other failure is tried again: the call may exist. One that nobody joins ends by itself and costs nothing.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                answer = await self._ask("POST", "/api/calls", json.dumps(spec.body()))
                break
            except AgentBusy as busy:
                wait_s = pause_s if busy.retry_after_s is None else max(busy.retry_after_s, _FIRST_PAUSE_S)
                self.on_busy(wait_s)
                if await _is_set_within(gave_up, wait_s):
                    raise
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        match answer:
            case {"callId": str(call_id), "joinUrl": str(join_url)} if call_id and join_url:
                return CreatedCall(call_id=call_id, join_url=join_url)
        raise _unreachable("created a call without a join URL")

    async def get_call(self, call_id: str) -> CallSummary:
        """Look a call up."""
        answer = await self._ask("GET", f"/api/calls/{urllib.parse.quote(call_id, safe='')}")
        reason = answer.get("endReason")
        return CallSummary(
            call_id=call_id, ended=bool(answer.get("ended")), end_reason=reason if isinstance(reason, str) else None
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        failure: AgentError
        try:
            async with asyncio.timeout(self._answer_s):
                try:
                    return await self._exchange(method, path, body)
                except httpx.ConnectError:  # nothing was sent
                    await asyncio.sleep(_RECONNECT_PAUSE_S)
                    return await self._exchange(method, path, body)
        except (TimeoutError, httpx.TimeoutException):
            failure = _unreachable("did not answer in time")
        except httpx.LocalProtocolError:
            failure = AgentRefused("ultravox.api_key holds characters that no HTTP header may hold.", status=401)
        except httpx.HTTPError as error:
            failure = _unreachable(f"could not be reached ({str(error)[:_MAX_DETAIL] or type(error).__name__})")
        raise failure  # out here, so that no foreign exception, which may quote the key, hangs on it

    async def _exchange(self, method: str, path: str, body: str | None) -> dict[str, Any]:
        headers = {b"X-API-Key": self._api_key.encode(), b"Accept-Encoding": b"identity"}
        if body is not None:
            headers[b"Content-Type"] = b"application/json"
        async with self._client.stream(
            method, self._base_url + path, headers=headers, content=body, follow_redirects=False
        ) as response:
            raw = bytearray()
            async for chunk in response.aiter_raw():
                raw += chunk
                if len(raw) > _MAX_ANSWER:
                    raise _unreachable(f"sent more than {_MAX_ANSWER} bytes")
        answer = _object(bytes(raw))
        if not response.is_success:
            raise self._failure(response, answer or {})
        if answer is None:
            raise _unreachable("did not answer with a JSON object")
        return answer

    def _failure(self, response: httpx.Response, answer: Mapping[str, Any]) -> AgentError:
        status = response.status_code
        if status in _BUSY:
            sentence = f"Ultravox has no room for another call now (HTTP {status}). Try later, or use a larger plan."
            retry_after_s = _retry_after(response.headers.get("Retry-After", ""))
            return AgentBusy(sentence, status=status, retry_after_s=retry_after_s)
        if 400 <= status < 500:
            sentence = _ADVICE.get(status, f"Ultravox refused the request (HTTP {status}).")
            detail = _detail(answer)
            if self._api_key:
                detail = detail.replace(self._api_key, "***")
            return AgentRefused(f"{sentence} It says: {detail[:_MAX_DETAIL]}" if detail else sentence, status=status)
        return _unreachable(f"answered with HTTP status {status}")


def _unreachable(failure: str) -> AgentUnreachable:
    return AgentUnreachable(f"Ultravox {failure}. Check ultravox.base_url and the network on the way to it.")


def _duration(seconds: float) -> str:
    """A protobuf JSON duration."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _object(raw: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError, RecursionError):
        answer = json.loads(raw)
        return answer if isinstance(answer, dict) else None
    return None


def _detail(answer: Mapping[str, Any]) -> str:
    """What an error answer says: its ``detail``, or the mistakes by field."""
    if isinstance(detail := answer.get("detail"), str):
        return " ".join(detail.split())
    mistakes = (
        f"{name}: {' '.join(map(str, what)) if isinstance(what, list) else what}" for name, what in answer.items()
    )
    return " ".join("; ".join(mistakes).split())


def _retry_after(value: str) -> float | None:
    """The header's seconds, given as such or as an HTTP date (RFC 9110 §10.2.3); None for anything else."""
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_RETRY_AFTER_S)
    with contextlib.suppress(ValueError, OverflowError):
        wait_s = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(wait_s, 0.0), _LONGEST_RETRY_AFTER_S)
    return None


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
