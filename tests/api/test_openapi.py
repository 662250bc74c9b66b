from __future__ import annotations

from pathlib import Path

import httpx
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.openapi import document, text
from api.operations import OPERATIONS


def test_committed_document_is_the_one_that_the_code_describes() -> None:
    committed = (Path(__file__).parents[2] / "api/openapi.json").read_text(encoding="utf-8")
    assert committed == text(), "run .venv/bin/python -m api.openapi > api/openapi.json"


async def test_document_is_valid_openapi_and_served_without_a_key(client: httpx.AsyncClient) -> None:
    del client.headers["Authorization"]
    served = (await client.get("/openapi.json")).json()
    OpenAPIV31SpecValidator(served).validate()
    assert served == document()


def test_request_schema_takes_the_contracts_example_and_refuses_ai_fields_without_a_prompt() -> None:
    schema = {"$ref": "#/components/schemas/VoiceRequest", "components": document()["components"]}
    call = {"from": "+14155559876", "to": "+14155551234"}
    validator = OAS31Validator(schema)
    assert validator.is_valid(call)
    assert validator.is_valid({**call, "systemPrompt": "Be kind.", "temperature": 1})
    assert not validator.is_valid({**call, "temperature": 1})
    assert not validator.is_valid({**call, "systemPrompt": None})
    assert not validator.is_valid({**call, "to": "14155551234"})
    assert not validator.is_valid({**call, "other": 1})


def test_every_operation_with_a_key_describes_its_refusals() -> None:
    paths = document()["paths"]
    for operation in OPERATIONS:
        described = paths[operation.path][operation.method.lower()]
        assert "500" in described["responses"]
        assert ("security" in described) == bool(operation.scope)
        if operation.scope:
            assert {"401", "403", "429"} <= described["responses"].keys()


def test_absent_is_never_described_as_null_but_the_code_of_a_delivery_without_a_response_is_null() -> None:
    described = document()
    code = described["components"]["schemas"]["DeliveryView"]["properties"].pop("responseCode")
    assert code["type"] == ["integer", "null"]
    assert "'null'" not in str(described)
