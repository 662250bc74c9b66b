"""The REST API of the simulated service, and under ``/simulator`` the simulator's own: verdicts and knobs."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.sandbox.ultravox.account import Account
from engine.sandbox.ultravox.call import SimulatedCall
from engine.sandbox.ultravox.fields import InvalidRequest
from engine.sandbox.ultravox.knobs import CreateReply, read_knobs, show_knobs
from engine.sandbox.ultravox.requests import read_call

Handler = Callable[[Request], Awaitable[Response]]


def create_app(account: Account) -> Starlette:
    """The routes of one account. Those under ``/api`` require its key in ``X-API-Key``; ``/simulator`` is open."""
    rest, own = _Rest(account), _Own(account)
    return Starlette(
        routes=[
            Route("/api/calls", rest.keyed(rest.create), methods=["POST"]),
            Route("/api/calls", rest.keyed(rest.list), methods=["GET"]),
            Route("/api/calls/{call_id}", rest.keyed(rest.get), methods=["GET"]),
            Route("/api/calls/{call_id}", rest.keyed(rest.delete), methods=["DELETE"]),
            Route("/api/calls/{call_id}/messages", rest.keyed(rest.messages), methods=["GET"]),
            Route("/api/accounts/me", rest.keyed(rest.account), methods=["GET"]),
            Route("/simulator/calls", own.list, methods=["GET"]),
            Route("/simulator/calls/{call_id}", own.get, methods=["GET"]),
            Route("/simulator/calls/{call_id}/audio", own.audio, methods=["GET"]),
            Route("/simulator/knobs", own.set_knobs, methods=["POST"]),
            Route("/simulator/knobs", own.knobs, methods=["GET"]),
        ]
    )


class _Rest:
    """Handlers of the documented API."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def keyed(self, handler: Handler) -> Handler:
        """``handler`` behind the key check."""

        async def checked(request: Request) -> Response:
            given, wanted = request.headers.get("x-api-key", ""), self._account.api_key
            if not given or (wanted is not None and not hmac.compare_digest(given.encode(), wanted.encode())):
                return _detail(401, "Authentication credentials were not provided or are invalid.")
            return await handler(request)

        return checked

    async def create(self, request: Request) -> Response:
        account, admission, now = self._account, self._account.admission, _now()
        admission.arrived(now)
        reply = self._next_reply()
        await asyncio.sleep(reply.delay_s)
        if reply.status != 201:
            admission.refused(reply.retry_after, now)
            return _refusal(reply.status, reply.retry_after)
        try:
            settings = read_call(await _json(request), strict=account.strict)
            if "priorCallId" in request.query_params and settings.body.get("initialMessages") is not None:
                raise InvalidRequest({"initialMessages": ["Not allowed with priorCallId."]})
        except InvalidRequest as invalid:
            return JSONResponse(invalid.errors, status_code=400)
        wait_s = admission.retry_after_s(account.knobs, account.live_calls, now)
        if wait_s is not None:
            admission.refused(str(wait_s), now)
            return _refusal(429, str(wait_s))
        call = await account.create(settings)
        if reply.body is not None:
            return Response(reply.body, status_code=201, media_type="application/json")
        shown = call.render(_now())
        return JSONResponse(shown if reply.join_url else {**shown, "joinUrl": None}, status_code=201)

    async def list(self, request: Request) -> Response:
        return _page([call.render(_now()) for call in reversed(self._account.calls.values())])

    async def get(self, request: Request) -> Response:
        call = _find(self._account, request)
        return _detail(404, "Not found.") if call is None else JSONResponse(call.render(_now()))

    async def messages(self, request: Request) -> Response:
        call = _find(self._account, request)
        return _detail(404, "Not found.") if call is None else _page(call.messages())

    async def delete(self, request: Request) -> Response:
        call = _find(self._account, request)
        if call is None:
            return _detail(404, "Not found.")
        if call.ended is None:
            call.faults.note("deleted-live-call", _now())
            return _detail(425, "The call has not ended.")
        del self._account.calls[call.call_id]
        return Response(status_code=204)

    async def account(self, request: Request) -> Response:
        return JSONResponse(
            {"activeCalls": self._account.live_calls, "allowedConcurrentCalls": self._account.knobs.max_calls}
        )

    def _next_reply(self) -> CreateReply:
        reply, self._account.knobs = self._account.knobs.next_create()
        return reply


class _Own:
    """Handlers of the simulator's own namespace."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def list(self, request: Request) -> Response:
        calls = [call.verdict() for call in self._account.calls.values()]
        return JSONResponse({"calls": calls, "faults": self._account.faults.render()})

    async def get(self, request: Request) -> Response:
        call = _find(self._account, request)
        return _detail(404, "Not found.") if call is None else JSONResponse(call.verdict())

    async def audio(self, request: Request) -> Response:
        """The captured audio of the caller, as headerless s16le at the call's input rate."""
        call = _find(self._account, request)
        if call is None or call.conversation is None:
            return _detail(404, "Not found.")
        return Response(bytes(call.conversation.audio.captured), media_type="application/octet-stream")

    async def knobs(self, request: Request) -> Response:
        return JSONResponse(show_knobs(self._account.knobs))

    async def set_knobs(self, request: Request) -> Response:
        try:
            self._account.knobs = read_knobs(await request.body())
        except ValueError as error:
            return _detail(400, str(error))
        return JSONResponse(show_knobs(self._account.knobs))


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except ValueError as error:
        raise InvalidRequest({"detail": [f"JSON parse error - {error}"]}) from error


def _find(account: Account, request: Request) -> SimulatedCall | None:
    return account.calls.get(request.path_params["call_id"])


def _detail(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status_code=status)


def _refusal(status: int, retry_after: str | None) -> Response:
    response = _detail(status, f"Refused with {status}.")
    if retry_after is not None:
        response.headers["Retry-After"] = retry_after
    return response


def _page(results: list[dict[str, Any]]) -> Response:
    return JSONResponse({"next": None, "previous": None, "results": results, "total": len(results)})


def _now() -> float:
    return asyncio.get_running_loop().time()
