"""``/api/voice``: read the request, ask the engine, write the answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from api import body
from api.call_list import CallQuery, page
from api.call_request import read_call
from api.call_views import CallAccepted, CallEnded, CallView, TranscriptDeleted, TurnView
from api.event_stream import EventStream, event
from api.models import answer, refused, validate_query
from api.ports import Engine
from api.problems import BAD_REQUEST, VALIDATION_ERROR, FieldError, Refusal
from engine.errors import CallerNotAllowed, UnknownCall
from engine.keys.key import ApiKey
from engine.records import CallRecord, IdempotencyClaim

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VISIBLE_ASCII = re.compile(r"[!-~]{1,255}")


class VoiceCalls:
    """The resource's operations. Each takes a request that a key was found good for."""

    def __init__(self, engine: Engine, still_good: Callable[[ApiKey], Awaitable[bool]]) -> None:
        self._engine = engine
        self._still_good = still_good

    async def place(self, request: Request, key: ApiKey) -> Response:
        content = await body.read(request)
        wanted, claim = read_call(content), _claim(request, key, content.digest)
        try:
            call = await self._engine.place(wanted, key.environment, claim, api_key_id=key.id)
        except CallerNotAllowed as error:
            mistake = FieldError(field="from", message=str(error))
            raise refused("No call was placed", VALIDATION_ERROR, [mistake]) from None
        return answer(CallAccepted.of(call))

    async def get(self, request: Request, key: ApiKey) -> Response:
        return answer(CallView.of(await self._engine.get(_call_id(request), key.environment)))

    async def list_all(self, request: Request, key: ApiKey) -> Response:
        query = validate_query(request.query_params, CallQuery, "Nothing was looked up")
        found = await self._engine.find(query.filter(key.environment), query.page_size + 1)
        return answer(page(found, query.page_size))

    async def hang_up(self, request: Request, key: ApiKey) -> Response:
        await self._engine.hang_up(_call_id(request), key.environment)
        return answer(CallEnded(ended=True))

    async def erase_transcript(self, request: Request, key: ApiKey) -> Response:
        await self._engine.erase_transcript(_call_id(request), key.environment)
        return answer(TranscriptDeleted(deleted=True))

    async def events(self, request: Request, key: ApiKey) -> Response:
        events = _events(self._engine.watch(_call_id(request), key.environment))
        first = await anext(events)  # before the answer begins: an unknown call is a 404, not a broken stream
        return EventStream(first, events, allowed=partial(self._still_good, key))


async def _events(calls: AsyncGenerator[CallRecord, None]) -> AsyncGenerator[str, None]:
    """``transcript`` for each turn as it becomes final or is corrected, ``status`` whenever the call's view changes."""
    turns: dict[int, str] = {}
    shown = ""
    async with contextlib.aclosing(calls):
        async for call in calls:
            for line in call.ai.transcript if call.ai else ():
                turn = TurnView.of(line).json_text()
                if turns.get(line.ordinal) != turn:
                    turns[line.ordinal] = turn
                    yield event("transcript", turn)
            if (view := CallView.of(call).json_text()) != shown:
                shown = view
                yield event("status", view)


def _call_id(request: Request) -> str:
    call_id: str = request.path_params["id"]
    if not _UUID.fullmatch(call_id):  # spares the store what no client can have got from us
        raise UnknownCall(call_id[:64])
    return call_id


def _claim(request: Request, key: ApiKey, digest: str) -> IdempotencyClaim | None:
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _VISIBLE_ASCII.fullmatch(given[0]):
        expected = FieldError(field="Idempotency-Key", message="Expected 1 to 255 visible ASCII characters, once.")
        raise Refusal(BAD_REQUEST, "No call was placed: the Idempotency-Key header is not valid.", errors=[expected])
    return IdempotencyClaim(key=given[0], api_key_id=key.id, body_digest=digest)
