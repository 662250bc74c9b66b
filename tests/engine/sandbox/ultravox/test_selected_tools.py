from __future__ import annotations

from typing import Any

import pytest

from engine.sandbox.ultravox.fields import Fields
from engine.sandbox.ultravox.selected_tools import HANG_UP_ID, Tool, read_tools

BODY = "PARAMETER_LOCATION_BODY"
HTTP = {"baseUrlPattern": "https://tools.example/look-up", "httpMethod": "POST"}


def _tool(**definition: Any) -> dict[str, Any]:
    return {"temporaryTool": {"modelToolName": "lookUp", **definition}}


def _read(*selected: object) -> tuple[tuple[Tool, ...], dict[str, list[str]]]:
    fields = Fields({"selectedTools": list(selected)})
    return read_tools(fields), fields.errors


def test_tools_are_read_by_kind() -> None:
    tools, errors = _read(
        {"toolName": "hangUp"},
        {"toolId": "abc", "nameOverride": "stored"},
        _tool(http=HTTP, timeout="6s"),
        _tool(client={}, modelToolName="transfer"),
    )
    assert not errors
    assert tools == (
        Tool(name="hangUp", kind="built-in"),
        Tool(name="stored", kind="stored"),
        Tool(name="lookUp", kind="http", timeout_s=6.0),
        Tool(name="transfer", kind="client"),
    )


def test_hang_up_is_known_by_its_id() -> None:
    assert _read({"toolId": HANG_UP_ID})[0] == (Tool(name="hangUp", kind="built-in"),)


@pytest.mark.parametrize(
    "selected",
    [
        {},
        {"toolName": "hangUp", "toolId": "x"},
        {"toolName": "no spaces"},
        {"toolName": "queryCorpus"},
        {"toolName": "warmTransfer", "parameterOverrides": {"from": "x"}},
        {"temporaryTool": "text"},
        _tool(),
        _tool(http=HTTP, client={}),
        _tool(http=HTTP, modelToolName="x" * 65),
        _tool(http=HTTP, timeout="41s"),
        _tool(http={"baseUrlPattern": "https://tools.example/?q={q}", "httpMethod": "GET"}),
        _tool(http={"baseUrlPattern": "https://tools.example/%7Bq%7D", "httpMethod": "GET"}),
        _tool(http={"baseUrlPattern": "tools.example", "httpMethod": "GET"}),
        _tool(http={"baseUrlPattern": "https://tools.example"}),
        _tool(http=HTTP, dynamicParameters=[{"name": "q", "location": "BODY"}]),
        _tool(http=HTTP, dynamicParameters=[{"location": BODY}]),
        _tool(http=HTTP, dynamicParameters=[{"name": "q", "location": "PARAMETER_LOCATION_PATH"}]),
        _tool(client=True),
        _tool(client={}, dynamicParameters=[{"name": "q", "location": BODY}]),
        _tool(client={}, dynamicParameters=[{"name": "q", "location": BODY, "schema": "string"}]),
        _tool(client={}, dynamicParameters=[{"name": "q", "location": "PARAMETER_LOCATION_QUERY", "schema": {}}]),
        _tool(client={}, staticParameters=[{"name": "q", "location": "PARAMETER_LOCATION_QUERY"}]),
    ],
)
def test_wrong_tool_is_an_error(selected: dict[str, Any]) -> None:
    assert _read(selected)[1]


def test_two_tools_of_one_name_are_an_error() -> None:
    assert "selectedTools" in _read(_tool(client={}), _tool(http=HTTP))[1]
