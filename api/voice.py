"""``/api/voice``: calls placed, shown, followed and hung up."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from api import body
from api.call_list import CallQuery, page
from api.call_request import read_call
from api.call_views import CallAccepted, CallEnded, CallView, TranscriptDeleted, TurnView
from api.event_stream import EventStream, event
from api.listeners import Listeners
from api.models import UUID, answer, path_id, refused, validate_query
from api.ports import Engine
from api.problems import BAD_REQUEST, VALIDATION_ERROR, FieldError, Refusal
from engine.errors import CallerNotAllowed, UnknownCall
from engine.keys.key import ApiKey
from engine.records import CallRecord, IdempotencyClaim

_VISIBLE_ASCII = re.compile(r"[!-~]{1,255}")


async def place_call(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Place a call.

    The answer does not wait for the far end.
    """
    content = await body.read(request)
    wanted, claim = read_call(content), _claim(request, key, content.digest)
    try:
        call = await engine.place(wanted, key.environment, claim, api_key_id=key.id)
    except CallerNotAllowed as error:
        mistake = FieldError(field="from", message=str(error))
        raise refused("No call was placed", VALIDATION_ERROR, [mistake]) from None
    return answer(CallAccepted.of(call))


async def get_call(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Get a call: its status, how it ended, its transcript."""
    return answer(CallView.of(await engine.get(_call_id(request), key.environment)))


async def list_calls(engine: Engine, request: Request, key: ApiKey) -> Response:
    """List calls, newest first, a page at a time and without their transcripts."""
    query = validate_query(request.query_params, CallQuery, "No calls were listed")
    found = await engine.find(query.filter(key.environment), query.page_size + 1)
    return answer(page(found, query.page_size))


async def hang_up(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Hang up a call.

    A call that has ended already gets the same answer.
    """
    await engine.hang_up(_call_id(request), key.environment)
    return answer(CallEnded(ended=True))


async def delete_transcript(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Delete the transcript of a call that has ended, with the agent's prompt and tools.

    Pending webhook deliveries go out without them.
    """
    await engine.erase_transcript(_call_id(request), key.environment)
    return answer(TranscriptDeleted(deleted=True))


async def stream_events(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Follow a call by server-sent events.

    ``status`` carries the call, ``transcript`` a turn. The stream starts with the call as it is now, and ends after its
    final status.
    """
    listeners: Listeners = request.app.state.listeners
    events = _events(engine.watch(_call_id(request), key.environment), listeners.listening(key))
    first = await anext(events)  # before the answer begins: an unknown call is a 404, not a broken stream
    return EventStream(first, events, allowed=partial(listeners.may_listen, key))


async def _events(
    calls: AsyncGenerator[CallRecord, None], listening: AbstractContextManager[None]
) -> AsyncGenerator[str, None]:
    """``transcript`` for each turn as it becomes final or is corrected, ``status`` whenever the call's view changes."""
    turns: dict[int, str] = {}
    shown = ""
    async with contextlib.AsyncExitStack() as closing:
        closing.enter_context(listening)
        await closing.enter_async_context(contextlib.aclosing(calls))
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
    return path_id(request, UUID, UnknownCall)


def _claim(request: Request, key: ApiKey, digest: str) -> IdempotencyClaim | None:
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _VISIBLE_ASCII.fullmatch(given[0]):
        expected = FieldError(field="Idempotency-Key", message="Expected 1 to 255 visible ASCII characters, once.")
        raise Refusal(BAD_REQUEST, "No call was placed: the Idempotency-Key header is not valid.", errors=[expected])
    return IdempotencyClaim(key=given[0], api_key_id=key.id, body_digest=digest)
