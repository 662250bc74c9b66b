"""The outermost layer of every request: security headers on each answer, and an answer to every exception."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import internal_error, log

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Boundary:
    """Answers an unexpected exception with 500; an answer that has begun is cut off instead."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun = False

        async def send_safely(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            await self._app(scope, receive, send_safely)
        except ClientDisconnect:
            log.debug("client disconnected before its request was complete")
        except Exception as error:  # no request may take the server down
            if begun:
                raise  # the server closes the connection, so that a truncated answer does not look complete
            await internal_error(error)(scope, receive, send_safely)
        return None
