"""The HTTP application: a route for every operation, and the layers around them."""

from __future__ import annotations

from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from api.auth import Authenticator
from api.boundary import Boundary
from api.listeners import Listeners
from api.operations import OPERATIONS, Operation
from api.ports import Engine
from api.problems import HANDLERS


def create_app(engine: Engine, *, authenticator: Authenticator | None = None) -> Starlette:
    """The API in front of ``engine``, which the caller has started and will stop."""
    authenticator = authenticator or Authenticator(engine)
    app = Starlette(
        routes=[_route(operation, engine, authenticator) for operation in OPERATIONS],
        middleware=[Middleware(Boundary)],
        exception_handlers=HANDLERS,
    )
    app.state.listeners = Listeners(engine)
    app.router.redirect_slashes = False  # a redirect would send a key to whatever the Host header names
    return app


def _route(operation: Operation, engine: Engine, authenticator: Authenticator) -> Route:
    handler = partial(operation.handler, engine)
    endpoint = handler if operation.scope is None else authenticator(operation.scope, handler)
    return Route(operation.path, endpoint, methods=[operation.method])
