"""A client of the running server for commands: place a call, follow it, hang it up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from api.cli.failure import CommandFailed
from engine.config.settings import HttpConfig

Record = Mapping[str, Any]
"""A call as ``GET /api/voice/{id}`` shows it, or a turn of its transcript."""

_TIMEOUT = httpx.Timeout(10.0)
_FOLLOWING = httpx.Timeout(10.0, read=None)


def url_of(http: HttpConfig) -> str:
    """The URL of a server with these settings, from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{http.port}"


class Client:
    """One server and one key. Every failure is a ``CommandFailed`` with a sentence."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        # The environment's proxy is not for a server that is nearly always on this machine.
        self._http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def place(self, body: Mapping[str, Any]) -> Record:
        """POST the call; returns its id, callId and status."""
        return await self._ask("POST", "/api/voice", json=body)

    async def trunks(self) -> list[dict[str, Any]]:
        """The trunks of the key's environment."""
        trunks: list[dict[str, Any]] = (await self._ask("GET", "/api/trunks"))["trunks"]
        return trunks

    async def hang_up(self, call_id: str) -> None:
        """Request the call's end; ``follow`` reports it."""
        await self._ask("DELETE", f"/api/voice/{call_id}")

    async def follow(self, call_id: str) -> AsyncIterator[tuple[str, Record]]:
        """``status`` with the call's record, now and at each change up to its end; ``transcript`` with each turn."""
        path = f"/api/voice/{call_id}/events"
        with self._failures():
            async with self._http.stream("GET", path, timeout=_FOLLOWING) as response:
                if response.is_error:
                    await response.aread()
                    raise CommandFailed(_sentence(response))
                name = ""
                async for line in _lines(response):
                    field, _, value = line.partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data":
                        yield name, json.loads(value)

    async def _ask(self, method: str, path: str, **content: Any) -> Record:
        with self._failures():
            response = await self._http.request(method, path, **content)
            if response.is_error:
                raise CommandFailed(_sentence(response))
            answer: Record = response.json()
            return answer

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError:
            raise CommandFailed(f"No server answers at {self._url}. Start one: trunkline serve.") from None
        except httpx.TransportError as error:
            name = type(error).__name__
            raise CommandFailed(f"The connection to {self._url} was lost ({name}); the call may go on.") from None
        except (ValueError, httpx.InvalidURL):
            raise CommandFailed(f"What answers at {self._url} is not Trunkline.") from None


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """The lines of an event stream. Httpx's own lines would also end at U+2028 and the like, which JSON may hold."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()


def _sentence(response: httpx.Response) -> str:
    """A problem's detail and its list of mistakes (RFC 9457)."""
    try:
        problem = response.json()
        detail = problem["detail"]
        mistakes = [f"\n  {mistake['field']}: {mistake['message']}" for mistake in problem.get("errors", ())]
    except (ValueError, TypeError, KeyError):
        return f"The server answered {response.status_code} {response.reason_phrase}."
    return f"{detail}{''.join(mistakes)}"
