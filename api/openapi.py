"""The API described in OpenAPI 3.1, built from its operations and the models that they read and write.

``GET /openapi.json`` serves the committed file, which this makes: ``python -m api.openapi > api/openapi.json``.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from api import problems
from api.operations import OPERATIONS, Operation
from api.problems import Problem

_KEY_PROBLEMS = (problems.UNAUTHORIZED, problems.FORBIDDEN, problems.RATE_LIMITED, problems.STORE_UNAVAILABLE)
_HEADERS = {
    401: ("WWW-Authenticate", "the scheme to use: `Bearer`", "string"),
    429: ("Retry-After", "seconds to wait", "integer"),
    503: ("Retry-After", "seconds to wait", "integer"),
}
_REF = "#/components/schemas/{model}"
_ID: Mapping[str, Any] = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


class _Schemas(GenerateJsonSchema):
    """Schemas in which an optional member may be absent but not null; a member that may be null says so itself."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # a title would only repeat the name

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        return {key: value for key, value in described.items() if (key, value) != ("default", None)}


def document() -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
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


def text() -> str:
    """The document as the committed file has it."""
    return json.dumps(document(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _schemas() -> dict[str, Any]:
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
    for operation in OPERATIONS:
        if operation.reads:
            modes.append((operation.reads, "validation"))
        if not isinstance(operation.answers, str):
            modes.append((operation.answers, "serialization"))
    _, definitions = models_json_schema(modes, ref_template=_REF, schema_generator=_Schemas)
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _operation(operation: Operation) -> dict[str, Any]:
    summary, _, more = (inspect.getdoc(operation.handler) or "").partition("\n\n")
    needs = f"Needs a key with the scope `{operation.scope}`." if operation.scope else "Needs no key."
    described: dict[str, Any] = {
        "operationId": to_camel(operation.handler.__name__),
        "summary": summary,
        "description": " ".join([*more.split(), needs]),
        "responses": _responses(operation),
    }
    parameters = [_ID] if "{id}" in operation.path else []
    parameters += [operation.header] if operation.header else []
    parameters += _query(operation.query)
    if parameters:
        described["parameters"] = parameters
    if operation.scope:
        described["security"] = [{"key": []}]
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
    if operation.unavailable:
        responses["503"] = {"description": operation.unavailable, "content": content}
    refuses = (*(_KEY_PROBLEMS if operation.scope else ()), *operation.refuses, problems.INTERNAL_ERROR)
    for status in sorted({kind.status for kind in refuses}):
        slugs = " or ".join(f"`{kind.slug}`" for kind in refuses if kind.status == status)
        response: dict[str, Any] = {"description": slugs, "content": {problems.MEDIA_TYPE: _ref(Problem)}}
        if status in _HEADERS:
            name, meaning, kind_of = _HEADERS[status]
            response["headers"] = {name: {"description": meaning, "required": True, "schema": {"type": kind_of}}}
        responses[str(status)] = response
    return responses


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _REF.format(model=model.__name__)}}


if __name__ == "__main__":
    sys.stdout.write(text())
