"""Places calls over HTTP at a steady rate, as a client does, and notes what it sees of each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

_FROM: Final = "+14155550100"
_TO: Final = 14_155_560_000
_NUMBERS: Final = 10_000
_FINAL_S: Final = 30.0
_ENDING_S: Final = 5.0
_LOOK_S: Final = 0.1
_PROMPT: Final = "You are the load kit's agent."


@dataclass(slots=True, kw_only=True)
class PlacedCall:
    """One POST and its call; times are nanoseconds since the epoch."""

    name: str
    """The call's number in the run; the agent's side knows the call by it."""
    posted_ns: int
    answered_ns: int = 0
    """When the POST was answered."""
    http_status: int = 0
    id: str = ""
    sip_call_id: str = ""
    problem: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The final record, as GET shows it."""


class Caller:
    """Places at most ``cps`` calls a second and keeps ``calls`` of them up, each for ``call_s`` seconds."""

    def __init__(self, http: httpx.AsyncClient, *, calls: int, cps: float, call_s: float, plain: bool) -> None:
        self.placed: list[PlacedCall] = []
        self.live: set[str] = set()
        self.late_ms: list[float] = []
        """The lateness of each POST, which is the load kit's fault."""
        self._http = http
        self._calls, self._cps, self._call_s, self._plain = calls, cps, call_s, plain
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float) -> None:
        """Place calls for ``seconds``, then let the remaining ones end at the rate at which they began."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        due_s = loop.time()
        while (now_s := loop.time()) < end_s:
            if now_s >= due_s and len(self._tasks) < self._calls:
                self.late_ms.append((now_s - due_s) * 1000)
                due_s = max(due_s + 1 / self._cps, now_s - 1 / self._cps)
                self._start(end_s)
            elif len(self._tasks) >= self._calls:
                await asyncio.wait(self._tasks, timeout=end_s - now_s, return_when=asyncio.FIRST_COMPLETED)
                due_s = max(due_s, loop.time())
            else:
                await asyncio.sleep(min(due_s, end_s) - now_s)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def final_records(self) -> None:
        """Wait for every call's end and fetch its record. A call that does not end gets no record."""
        with contextlib.suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(_FINAL_S + len(self.placed) / 100):
                await self._fetch()

    async def _fetch(self) -> None:
        for call in self.placed:
            while call.id and "ended" not in call.record:
                call.record = (await self._http.get(f"/api/voice/{call.id}")).json()
                await asyncio.sleep(0.0 if "ended" in call.record else _LOOK_S)

    def outcomes(self) -> Mapping[str, int]:
        """The number of calls for each way of ending."""
        return dict(Counter(_outcome(call) for call in self.placed).most_common())

    def _start(self, end_s: float) -> None:
        number = len(self.placed)
        # The last calls end one after another: a storm of BYEs is another test.
        share = number % self._calls / self._calls
        task = asyncio.create_task(self._call(number, end_s + share * min(self._calls / self._cps, _ENDING_S)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, number: int, latest_end_s: float) -> None:
        """One call from POST to DELETE. ``latest_end_s``: when it is to end at the latest, on the loop's clock."""
        loop = asyncio.get_running_loop()
        end_s = min(loop.time() + self._call_s, latest_end_s)
        body: dict[str, Any] = {"from": _FROM, "to": f"+{_TO + number % _NUMBERS}", "metadata": {"load": str(number)}}
        if not self._plain:
            body["systemPrompt"] = _PROMPT
        call = PlacedCall(name=str(number), posted_ns=time.time_ns())
        self.placed.append(call)
        try:
            await self._place(call, body)
            if not call.id:
                return
            self.live.add(call.id)
            await asyncio.sleep(end_s - loop.time())
            await self._http.delete(f"/api/voice/{call.id}")
        except httpx.HTTPError as error:
            call.problem = f"{type(error).__name__}: {error}"
        finally:
            self.live.discard(call.id)

    async def _place(self, call: PlacedCall, body: Mapping[str, Any]) -> None:
        response = await self._http.post("/api/voice", json=body)
        call.answered_ns, call.http_status = time.time_ns(), response.status_code
        answer = response.json()
        if response.is_error:
            call.problem = str(answer.get("detail", ""))
        else:
            call.id, call.sip_call_id = answer["id"], answer["callId"]


def _outcome(call: PlacedCall) -> str:
    if not call.id:
        return f"refused: HTTP {call.http_status}" if call.http_status else "no answer to the POST"
    return f"{call.record.get('status', 'unknown')}: {call.record.get('ended', {}).get('cause', 'no end')}"
