"""The request for a call: the contract's fields and the rules that they must meet.

Together with ``call_views`` this is the only place where the contract's member names appear.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from api.body import Body
from api.field_errors import broken_rule
from api.models import E164, Given, Optionally, Word, validate
from api.problems import FieldError
from engine.records import AgentSettings, CallRequest
from engine.sip.dtmf import PRESS_KEYS

MAX_DURATION_S = 86_400
AI_ONLY = ("model", "voice", "tools", "firstSpeaker", "temperature")

_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"  # tab, line feed and carriage return are text


def _in_range(duration: str) -> str:
    if not 1 <= seconds(duration) <= MAX_DURATION_S:
        raise PydanticCustomError("expected", "out of range")
    return duration


def _url(url: str) -> str:
    try:
        valid = bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        valid = False
    if not valid or "%7b" in url.lower() or "%7d" in url.lower():
        raise PydanticCustomError("expected", "not a URL")
    return url


def _own_key(key: str) -> str:
    if key.lower().startswith("ultravox."):
        raise PydanticCustomError("rule", 'Expected a key that does not begin with "ultravox." (reserved).')
    return key


def _not_ours(name: str) -> str:
    if name == PRESS_KEYS:
        raise PydanticCustomError("rule", "Expected another name: pressKeys is Trunkline's own tool.")
    return name


Text = Annotated[str, StringConstraints(pattern=rf"^[^{_CONTROL}]*$")]
Prose = Annotated[str, StringConstraints(pattern=rf"^[^{_CONTROL}]*[^{_CONTROL}\s][^{_CONTROL}]*$")]
Duration = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,5}(\.[0-9]{1,9})?s$"), AfterValidator(_in_range)]
Url = Annotated[
    str,
    StringConstraints(pattern=r"^https?://[A-Za-z0-9._~:/@!$&'()*+,;=%{}\[\]-]+$", max_length=2048),
    AfterValidator(_url),
]
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$"), AfterValidator(_not_ours)]
MetadataKey = Annotated[Word, StringConstraints(max_length=64), AfterValidator(_own_key)]
MetadataValue = Annotated[Text, StringConstraints(max_length=4096)]


class HttpTarget(Given):
    base_url_pattern: Url = Field(
        description="an http:// or https:// URL without query or fragment, with {name} for each PATH parameter"
    )
    http_method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        description="GET, POST, PUT, PATCH or DELETE, in capitals"
    )


class DynamicParameter(Given):
    name: Word = Field(description="the parameter's name: a string of 1 to 200 characters")
    location: Literal[
        "PARAMETER_LOCATION_QUERY", "PARAMETER_LOCATION_PATH", "PARAMETER_LOCATION_HEADER", "PARAMETER_LOCATION_BODY"
    ] = Field(
        description="PARAMETER_LOCATION_QUERY, PARAMETER_LOCATION_PATH, PARAMETER_LOCATION_HEADER or "
        "PARAMETER_LOCATION_BODY"
    )
    schema_: dict[str, Any] = Field(alias="schema", description="the parameter's JSON Schema: an object")
    required: Optionally[bool] = Field(default=None, description="true or false; true for a PATH parameter")


class Tool(Given):
    model_tool_name: ToolName = Field(
        description="the name the model calls the tool by: 1 to 64 of the characters a-z A-Z 0-9 _ -"
    )
    description: Annotated[Prose, StringConstraints(max_length=10_000)] = Field(
        description="what the tool does, for the model: a non-blank string of up to 10000 characters"
    )
    dynamic_parameters: Optionally[list[DynamicParameter]] = Field(
        default=None, max_length=100, description="an array of at most 100 parameters that the model chooses"
    )
    http: HttpTarget = Field(description="where the tool is called: an object with baseUrlPattern and httpMethod")

    @model_validator(mode="after")
    def _placeholders_have_parameters(self) -> Tool:
        placeholders = set(re.findall(r"\{([^{}]*)\}", self.http.base_url_pattern))
        mistakes = []
        for index, parameter in enumerate(self.dynamic_parameters or ()):
            if parameter.location != "PARAMETER_LOCATION_PATH":
                continue
            here = ("dynamicParameters", index)
            if parameter.name not in placeholders:
                expected = f"Expected http.baseUrlPattern to contain {{{parameter.name}}}, as this is a PATH parameter."
                mistakes.append(broken_rule((*here, "name"), expected))
            elif not parameter.required:
                mistakes.append(broken_rule((*here, "required"), "Expected true, as this is a PATH parameter."))
            placeholders.discard(parameter.name)
        for name in sorted(placeholders):
            expected = f"Expected a PATH parameter for {{{name}}} in dynamicParameters."
            mistakes.append(broken_rule(("http", "baseUrlPattern"), expected))
        if mistakes:
            raise ValidationError.from_exception_data("Tool", mistakes)
        return self


def _names_differ(tools: list[Tool]) -> list[Tool]:
    first: dict[str, int] = {}
    mistakes = [
        broken_rule((index, "modelToolName"), f"Expected a unique name; tools[{earlier}] has this one.")
        for index, tool in enumerate(tools)
        if (earlier := first.setdefault(tool.model_tool_name, index)) != index
    ]
    if mistakes:
        raise ValidationError.from_exception_data("tools", mistakes)
    return tools


class VoiceRequest(Given):
    """A call to place. ``model``, ``voice``, ``tools``, ``firstSpeaker`` and ``temperature`` need ``systemPrompt``."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {name: ["systemPrompt"] for name in AI_ONLY}})

    from_: E164 = Field(
        alias="from", description="the caller's number in E.164: + and 7 to 15 digits, the first not 0 (+14155559876)"
    )
    to: E164 = Field(description="the number to call in E.164: + and 7 to 15 digits, the first not 0 (+14155551234)")
    system_prompt: Optionally[Annotated[Prose, StringConstraints(max_length=100_000)]] = Field(
        default=None,
        description="a non-blank string of up to 100000 characters, which makes this an AI call (leave it out for a "
        "plain call)",
    )
    model: Optionally[Word] = Field(
        default=None, description='the name of an Ultravox model, such as "fixie-ai/ultravox-70B"'
    )
    voice: Optionally[Word] = Field(default=None, description='the name or id of an Ultravox voice, such as "Mark"')
    tools: Optionally[Annotated[list[Tool], Field(max_length=64), AfterValidator(_names_differ)]] = Field(
        default=None, description="an array of at most 64 HTTP tools that the AI can call"
    )
    first_speaker: Optionally[Literal["agent", "user"]] = Field(default=None, description='"agent" or "user"')
    temperature: Optionally[Annotated[float, Field(ge=0, le=1)]] = Field(
        default=None, description="a number from 0 to 1"
    )
    max_duration: Optionally[Duration] = Field(
        default=None, description=f'a string of seconds such as "300s", from "1s" to "{MAX_DURATION_S}s"'
    )
    metadata: Optionally[Annotated[dict[MetadataKey, MetadataValue], Field(max_length=50)]] = Field(
        default=None,
        description="an object of at most 50 strings, each of up to 4096 characters, under keys of 1 to 64 characters",
    )


def seconds(duration: str) -> float:
    """``"300s"`` as a number."""
    return float(duration.removesuffix("s"))


def read_call(body: Body) -> CallRequest:
    """The call that ``body`` asks for. Raises ``Refusal`` with every mistake."""
    without_prompt = [
        FieldError(field=name, message="This field is for AI calls only: it needs systemPrompt.")
        for name in AI_ONLY
        if name in body.members and "systemPrompt" not in body.members
    ]
    given = validate(body, VoiceRequest, "No call was placed", also=without_prompt)
    agent = None
    if given.system_prompt is not None:
        agent = AgentSettings(
            system_prompt=given.system_prompt,
            model=given.model,
            voice=given.voice,
            tools=tuple(body.members.get("tools", ())),  # as the client wrote them
            first_speaker=given.first_speaker or "agent",
            temperature=given.temperature,
        )
    return CallRequest(
        from_number=given.from_,
        to_number=given.to,
        agent=agent,
        max_duration_s=seconds(given.max_duration) if given.max_duration else None,
        metadata=given.metadata or {},
    )
