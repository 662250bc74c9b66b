"""The ``selectedTools`` of a create request, checked as Ultravox documents them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from engine.sandbox.ultravox.fields import Fields, is_object, seconds

HANG_UP_ID: Final = "56294126-5a7d-4948-b67d-3b7e13d55ea7"
_BUILT_IN_NEEDS: Final = {"queryCorpus": "corpus_id", "coldTransfer": "target", "warmTransfer": "target"}
_MODEL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_REFERENCES: Final = ("toolId", "toolName", "temporaryTool")
_IMPLEMENTATIONS: Final = ("http", "client", "dataConnection")
_LOCATIONS: Final = frozenset(f"PARAMETER_LOCATION_{name}" for name in ("QUERY", "PATH", "HEADER", "BODY"))
_DEFAULT_TIMEOUT_S: Final = 2.5
_MAX_TIMEOUT_S: Final = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that the model can call. ``kind`` says who runs it."""

    name: str
    kind: Literal["built-in", "stored", "http", "client", "dataConnection"]
    timeout_s: float = _DEFAULT_TIMEOUT_S


def read_tools(fields: Fields) -> tuple[Tool, ...]:
    """Read ``selectedTools``, noting every mistake in ``fields``."""
    tools: list[Tool] = []
    for index, selected in enumerate(fields.list_of_objects("selectedTools")):
        tool = _read_tool(Fields(selected, f"selectedTools.{index}", fields.errors))
        if any(tool.name == other.name for other in tools):
            fields.error("selectedTools", f"Duplicate tool name: {tool.name}.")
        tools.append(tool)
    return tuple(tools)


def _read_tool(selected: Fields) -> Tool:
    given = [key for key in _REFERENCES if selected.get(key) is not None]
    if len(given) != 1:
        selected.error("", f"Exactly one of {', '.join(_REFERENCES)} must be set.")
    override = selected.text("nameOverride")
    definition = selected.get("temporaryTool")
    if definition is None:
        name = str(selected.get("toolName") or selected.get("toolId") or "")
        name = "hangUp" if name == HANG_UP_ID else name
        _check_built_in(name, selected)
        return Tool(name=_checked_name(override or name, selected), kind="built-in" if name == "hangUp" else "stored")
    if not is_object(definition):
        selected.error("temporaryTool", "Expected an object.")
        definition = {}
    return _read_definition(Fields(definition, f"{selected.path}.temporaryTool", selected.errors), override)


def _check_built_in(name: str, selected: Fields) -> None:
    needed = _BUILT_IN_NEEDS.get(name)
    overrides = selected.get("parameterOverrides") or {}
    if needed is not None and not (is_object(overrides) and needed in overrides):
        selected.error("parameterOverrides", f"{name} requires an override for {needed}.")


def _checked_name(name: str, fields: Fields) -> str:
    if not _MODEL_NAME.fullmatch(name):
        fields.error("modelToolName", f"{name!r} does not match ^[a-zA-Z0-9_-]{{1,64}}$.")
    return name


def _read_definition(definition: Fields, override: str | None) -> Tool:
    name = _checked_name(override or definition.text("modelToolName") or "", definition)
    kinds = [kind for kind in _IMPLEMENTATIONS if definition.get(kind) is not None]
    if len(kinds) != 1:
        definition.error("", f"Exactly one of {', '.join(_IMPLEMENTATIONS)} must be set.")
    kind: Any = kinds[0] if kinds else "http"
    timeout_s = seconds(definition, "timeout", _DEFAULT_TIMEOUT_S)
    if timeout_s > _MAX_TIMEOUT_S:
        definition.error("timeout", "Timeout must be at most 40s.")
    if kind != "http" and not is_object(definition.get(kind)):
        definition.error(kind, "Expected an object.")
    for group in ("dynamicParameters", "staticParameters", "automaticParameters"):
        for parameter in definition.list_of_objects(group):
            _check_parameter(definition, group, parameter, body_only=kind != "http")
    if kind == "http":
        _check_http(definition)
    return Tool(name=name, kind=kind, timeout_s=timeout_s)


def _check_parameter(definition: Fields, group: str, parameter: dict[str, Any], *, body_only: bool) -> None:
    if not parameter.get("name"):
        definition.error(group, "Each parameter needs a name.")
    if group == "dynamicParameters" and not is_object(parameter.get("schema")):
        definition.error(group, "Each dynamic parameter needs a JSON Schema object.")
    location = parameter.get("location")
    if location not in _LOCATIONS:
        definition.error(group, f"{location!r} is not a parameter location.")
    elif body_only and location != "PARAMETER_LOCATION_BODY":
        definition.error(group, "Client and data connection tools take body parameters only.")
    elif location.endswith("PATH") and group == "dynamicParameters" and parameter.get("required") is not True:
        definition.error(group, "Path parameters must be required.")


def _check_http(definition: Fields) -> None:
    http = definition.get("http")
    pattern = http.get("baseUrlPattern") if is_object(http) else None
    if not isinstance(pattern, str) or not pattern.startswith(("http://", "https://")):
        definition.error("http.baseUrlPattern", "Expected an http or https URL.")
    elif "?" in pattern or "%7b" in pattern.lower():
        definition.error("http.baseUrlPattern", "Query strings and percent-encoded braces are not allowed.")
    if not is_object(http) or not isinstance(http.get("httpMethod"), str):
        definition.error("http.httpMethod", "This field is required.")
