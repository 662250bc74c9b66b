"""Every error answer: the one table that maps errors to RFC 9457 problem details.

The API refuses a request by ``Refusal``; an error of the engine is looked up in ``ENGINE_PROBLEMS``. The text of an
internal error (status 500) is for the operator: it is logged and never reaches a client.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from engine.errors import (
    CallerNotAllowed,
    CallIsLive,
    CapacityError,
    ConfigError,
    GrantRefused,
    GuardRefused,
    IdempotencyConflict,
    NoCapacity,
    QuotaReached,
    ShuttingDown,
    SipError,
    StoreUnavailable,
    TargetRefused,
    TooManyWebhooks,
    TrunklineError,
    TrunkUnavailable,
    UnknownCall,
    UnknownKey,
    UnknownWebhook,
)

log = logging.getLogger("trunkline.api")

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "https://trunkline.dev/errors/"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the contract's error list."""

    status: int
    slug: str
    title: str


BAD_REQUEST = Kind(400, "bad-request", "Bad request")
UNAUTHORIZED = Kind(401, "unauthorized", "Unauthorized")
FORBIDDEN = Kind(403, "forbidden", "Forbidden")
CALL_NOT_ALLOWED = Kind(403, "call-not-allowed", "Call not allowed")
NOT_FOUND = Kind(404, "not-found", "Not found")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "Method not allowed")
REQUEST_TIMEOUT = Kind(408, "request-timeout", "Request timeout")
CONFLICT = Kind(409, "conflict", "Conflict")
CONTENT_TOO_LARGE = Kind(413, "content-too-large", "Content too large")
UNSUPPORTED_MEDIA_TYPE = Kind(415, "unsupported-media-type", "Unsupported media type")
VALIDATION_ERROR = Kind(422, "validation-error", "Validation error")
RATE_LIMITED = Kind(429, "rate-limited", "Rate limited")
INTERNAL_ERROR = Kind(500, "internal-error", "Internal error")
NO_CAPACITY = Kind(503, "no-capacity", "No capacity")
SHUTTING_DOWN = Kind(503, "shutting-down", "Shutting down")
STORE_UNAVAILABLE = Kind(503, "store-unavailable", "Store unavailable")
TRUNK_UNAVAILABLE = Kind(503, "trunk-unavailable", "Trunk unavailable")

ENGINE_PROBLEMS: Mapping[type[TrunklineError], Kind] = {
    CallIsLive: CONFLICT,
    GuardRefused: CALL_NOT_ALLOWED,
    QuotaReached: RATE_LIMITED,
    GrantRefused: FORBIDDEN,
    IdempotencyConflict: CONFLICT,
    CallerNotAllowed: VALIDATION_ERROR,
    TargetRefused: VALIDATION_ERROR,
    TooManyWebhooks: CONFLICT,
    UnknownCall: NOT_FOUND,
    UnknownKey: NOT_FOUND,
    UnknownWebhook: NOT_FOUND,
    NoCapacity: NO_CAPACITY,
    ShuttingDown: SHUTTING_DOWN,
    StoreUnavailable: STORE_UNAVAILABLE,
    TrunkUnavailable: TRUNK_UNAVAILABLE,
    ConfigError: INTERNAL_ERROR,
    SipError: INTERNAL_ERROR,
}


class FieldError(BaseModel):
    """One mistake in a request."""

    field: str = Field(description="where: a path such as `tools[0].http.httpMethod`, or the name of a header")
    message: str = Field(description="what was expected there")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description=f"a URI: `{TYPE_BASE}` followed by a slug, which programs may compare")
    title: str
    status: int
    detail: str = Field(description="a sentence for people")
    rule: str | None = Field(
        default=None, description="the rule of the guard that refused the call: a setting, or the kind of number"
    )
    errors: list[FieldError] | None = Field(default=None, description="for bad input: every mistake that was found")


class Refusal(Exception):
    """A request that the API refuses. The client sees ``detail`` and ``errors``."""

    def __init__(
        self, kind: Kind, detail: str, *, errors: Iterable[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers


def problem(
    kind: Kind,
    detail: str,
    *,
    rule: str | None = None,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer that carries a problem."""
    type_ = TYPE_BASE + kind.slug
    body = Problem(type=type_, title=kind.title, status=kind.status, detail=detail, rule=rule, errors=errors)
    return Response(body.model_dump_json(exclude_none=True), kind.status, headers, MEDIA_TYPE)


def internal_error(error: Exception) -> Response:
    """Log ``error`` with its traceback, and answer 500 without any of its text."""
    log.error("request failed", exc_info=error)
    return problem(INTERNAL_ERROR, "The request failed inside Trunkline. The operator can find the reason in the log.")


async def on_engine_error(_: Request, error: Exception) -> Response:
    kind = next((kind for known, kind in ENGINE_PROBLEMS.items() if isinstance(error, known)), INTERNAL_ERROR)
    if kind is INTERNAL_ERROR:
        return internal_error(error)
    headers = {"Retry-After": str(max(1, error.retry_after_s))} if isinstance(error, CapacityError) else None
    return problem(kind, str(error), rule=getattr(error, "rule", None), headers=headers)


async def on_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problem(error.kind, error.detail, errors=error.errors or None, headers=error.headers)


async def on_unknown_route(_: Request, __: Exception) -> Response:
    return problem(NOT_FOUND, "There is nothing at this path; GET /openapi.json lists every operation.")


async def on_wrong_method(request: Request, _: Exception) -> Response:
    # Starlette's own Allow names the first route of the path only.
    path = request.scope["route"].path
    methods = sorted({m for route in request.app.routes if route.path == path for m in route.methods})
    return problem(
        METHOD_NOT_ALLOWED, f"This path supports only {', '.join(methods)}.", headers={"Allow": ", ".join(methods)}
    )


HANDLERS: Mapping[type[Exception] | int, ExceptionHandler] = {
    404: on_unknown_route,
    405: on_wrong_method,
    Refusal: on_refusal,
    TrunklineError: on_engine_error,
}
