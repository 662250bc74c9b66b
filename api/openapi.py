"""``GET /openapi.json``: the API described in OpenAPI 3.1, built from the models that read and write it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema
from starlette.requests import Request
from starlette.responses import Response

from api import problems
from api.call_list import CallQuery
from api.call_request import VoiceRequest
from api.call_views import CallAccepted, CallEnded, CallPage, CallView, TranscriptDeleted
from api.health import Alive, ReadinessView
from api.keys import KeyCreated, KeyList, KeyRequest, KeyRevoked
from api.problems import Kind, Problem
from api.trunks import TrunkList
from api.webhooks import (
    DeliveryList,
    DeliveryQuery,
    WebhookCreated,
    WebhookDeleted,
    WebhookList,
    WebhookRequest,
)
from engine.keys.keys import KEYS_MANAGE, VOICE_CALL, VOICE_READ, WEBHOOKS_MANAGE

_KEY_PROBLEMS = (problems.UNAUTHORIZED, problems.FORBIDDEN, problems.RATE_LIMITED, problems.STORE_UNAVAILABLE)
_BODY_PROBLEMS = (
    problems.BAD_REQUEST,
    problems.CONTENT_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.VALIDATION_ERROR,
)
_CAPACITY_PROBLEMS = (problems.CONFLICT, problems.NO_CAPACITY, problems.SHUTTING_DOWN, problems.TRUNK_UNAVAILABLE)


_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key with the same body answers the first call's answer for 24 hours and places no other.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. ``scope`` None: open to everybody."""

    summary: str
    answers: type[BaseModel] | str
    """The model of the 200 answer, or the media type of one that is no JSON of ours."""
    reads: type[BaseModel] | None = None
    parameters: tuple[Mapping[str, Any], ...] = ()
    """Beside the ``{id}`` of the path."""
    query: type[BaseModel] | None = None
    """Whose members are parameters, too."""
    scope: str | None = None
    refuses: tuple[Kind, ...] = ()


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("/api/voice", "post"): Operation(
        summary="Place a call. The answer does not wait for the far end.",
        answers=CallAccepted,
        reads=VoiceRequest,
        parameters=(_IDEMPOTENCY_KEY,),
        scope=VOICE_CALL,
        refuses=(problems.CALL_NOT_ALLOWED, *_BODY_PROBLEMS, *_CAPACITY_PROBLEMS),
    ),
    ("/api/voice", "get"): Operation(
        summary="The calls there are, the newest first, a page at a time and without what was said in them.",
        answers=CallPage,
        query=CallQuery,
        scope=VOICE_READ,
        refuses=(problems.VALIDATION_ERROR,),
    ),
    ("/api/voice/{id}", "get"): Operation(
        summary="A call: where it is, how it ended, what was said.",
        answers=CallView,
        scope=VOICE_READ,
        refuses=(problems.NOT_FOUND,),
    ),
    ("/api/voice/{id}", "delete"): Operation(
        summary="Hang up. A call that has ended already gets the same answer.",
        answers=CallEnded,
        scope=VOICE_CALL,
        refuses=(problems.NOT_FOUND,),
    ),
    ("/api/voice/{id}/events", "get"): Operation(
        summary="The call's progress as server-sent events: `status` with the call, `transcript` with a turn. "
        "The first event tells how the call stands; the stream ends after the final status.",
        answers="text/event-stream",
        scope=VOICE_READ,
        refuses=(problems.NOT_FOUND,),
    ),
    ("/api/voice/{id}/transcript", "delete"): Operation(
        summary="Delete what was said in a call that is over, with the agent's prompt and tools. What webhooks are "
        "still to be told of it goes out without.",
        answers=TranscriptDeleted,
        scope=VOICE_CALL,
        refuses=(problems.NOT_FOUND, problems.CONFLICT),
    ),
    ("/api/webhooks", "post"): Operation(
        summary="Have a URL told of calls. The answer shows the secret that verifies the signatures, this once.",
        answers=WebhookCreated,
        reads=WebhookRequest,
        scope=WEBHOOKS_MANAGE,
        refuses=(*_BODY_PROBLEMS, problems.CONFLICT),
    ),
    ("/api/webhooks", "get"): Operation(summary="The webhooks there are.", answers=WebhookList, scope=WEBHOOKS_MANAGE),
    ("/api/webhooks/{id}", "delete"): Operation(
        summary="Have the URL told nothing any more; what is still to be delivered is dropped.",
        answers=WebhookDeleted,
        scope=WEBHOOKS_MANAGE,
        refuses=(problems.NOT_FOUND,),
    ),
    ("/api/webhooks/{id}/logs", "get"): Operation(
        summary="What became of the latest deliveries.",
        answers=DeliveryList,
        query=DeliveryQuery,
        scope=WEBHOOKS_MANAGE,
        refuses=(problems.NOT_FOUND, problems.VALIDATION_ERROR),
    ),
    ("/api/trunks", "get"): Operation(
        summary="The trunks and whether each takes calls: the real ones for a live key, the sandbox's for a test key.",
        answers=TrunkList,
        scope=VOICE_READ,
    ),
    ("/api/keys", "post"): Operation(
        summary="Make a key, which can have no more than the one that asks. The answer shows it, this once.",
        answers=KeyCreated,
        reads=KeyRequest,
        scope=KEYS_MANAGE,
        refuses=_BODY_PROBLEMS,
    ),
    ("/api/keys", "get"): Operation(summary="The keys there are.", answers=KeyList, scope=KEYS_MANAGE),
    ("/api/keys/{id}", "delete"): Operation(
        summary="Revoke a key, at once. One that was revoked before gets the same answer.",
        answers=KeyRevoked,
        scope=KEYS_MANAGE,
        refuses=(problems.NOT_FOUND,),
    ),
    ("/metrics", "get"): Operation(
        summary="Counters, times and gauges of the key's environment, in Prometheus' text format.",
        answers="text/plain",
        scope=VOICE_READ,
    ),
    ("/healthz", "get"): Operation(summary="Whether the process serves requests.", answers=Alive),
    ("/readyz", "get"): Operation(summary="Whether new calls can be taken.", answers=ReadinessView),
    ("/openapi.json", "get"): Operation(summary="This document.", answers="application/json"),
}

_HEADERS = {
    401: ("WWW-Authenticate", "the scheme to use: `Bearer`", "string"),
    429: ("Retry-After", "seconds to wait", "integer"),
    503: ("Retry-After", "seconds to wait", "integer"),
}
_REF = "#/components/schemas/{model}"
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


class _Schemas(GenerateJsonSchema):
    """Absent is not null, neither in what is read nor in what is written: what may be null says so by itself."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # a title would only repeat the name

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        return {key: value for key, value in described.items() if (key, value) != ("default", None)}


async def openapi(_: Request) -> Response:
    return Response(_text(), media_type="application/json")


@functools.cache
def _text() -> str:
    return json.dumps(document())


def document() -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(path, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trunkline",
            "version": "1",
            "description": "Voice calls on your own machines and trunk. Errors are RFC 9457 problem details.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "tk_live_… or tk_test_…"}},
        },
    }


def _schemas() -> dict[str, Any]:
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
    for operation in OPERATIONS.values():
        if operation.reads:
            modes.append((operation.reads, "validation"))
        if not isinstance(operation.answers, str):
            modes.append((operation.answers, "serialization"))
    _, definitions = models_json_schema(modes, ref_template=_REF, schema_generator=_Schemas)
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"summary": operation.summary, "responses": _responses(operation)}
    if parameters := [*([_ID] if "{id}" in path else []), *operation.parameters, *_query(operation.query)]:
        described["parameters"] = parameters
    if operation.scope:
        described["security"] = [{"key": []}]
        described["description"] = f"Needs a key with the scope `{operation.scope}`."
    if operation.reads:
        described["requestBody"] = {"required": True, "content": {"application/json": _ref(operation.reads)}}
    return described


def _query(model: type[BaseModel] | None) -> Iterator[dict[str, Any]]:
    schemas = model.model_json_schema(ref_template=_REF, schema_generator=_Schemas) if model else {"properties": {}}
    for name, schema in schemas["properties"].items():
        yield {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}


def _responses(operation: Operation) -> dict[str, Any]:
    answers = operation.answers
    content = {answers: {}} if isinstance(answers, str) else {"application/json": _ref(answers)}
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": content}}
    if answers is ReadinessView:
        responses["503"] = {"description": "New calls cannot be taken now.", "content": content}
    refuses = (*(_KEY_PROBLEMS if operation.scope else ()), *operation.refuses, problems.INTERNAL_ERROR)
    for status in sorted({kind.status for kind in refuses}):
        slugs = " or ".join(f"`{kind.slug}`" for kind in refuses if kind.status == status)
        response: dict[str, Any] = {"description": slugs, "content": {problems.MEDIA_TYPE: _ref(Problem)}}
        if status in _HEADERS:
            name, text, kind_of = _HEADERS[status]
            response["headers"] = {name: {"description": text, "required": True, "schema": {"type": kind_of}}}
        responses[str(status)] = response
    return responses


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _REF.format(model=model.__name__)}}
