from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.body import parse
from api.call_request import read_call
from api.problems import Refusal
from engine.records import AgentSettings, CallRequest
from tests.api.fakes import FakeEngine

PLAIN: dict[str, Any] = {"from": "+14155559876", "to": "+14155551234"}
TOOL: dict[str, Any] = {
    "modelToolName": "lookUp",
    "description": "Looks up an order.",
    "dynamicParameters": [
        {
            "name": "id",
            "location": "PARAMETER_LOCATION_PATH",
            "schema": {"type": "string", "$comment": "kept", "enum": [1.0, None, "é"]},
            "required": True,
        }
    ],
    "http": {"baseUrlPattern": "https://shop.example/orders/{id}", "httpMethod": "GET"},
}
AI: dict[str, Any] = {**PLAIN, "systemPrompt": "Be kind.", "tools": [TOOL]}


def without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: member for name, member in value.items() if name not in names}


def tool(**changes: Any) -> dict[str, Any]:
    return {**AI, "tools": [{**TOOL, **changes}]}


def read(value: dict[str, Any]) -> CallRequest:
    return read_call(parse(json.dumps(value).encode()))


def refused(value: dict[str, Any]) -> tuple[int, dict[str, str]]:
    with pytest.raises(Refusal) as caught:
        read(value)
    return caught.value.kind.status, {error.field: error.message for error in caught.value.errors}


def test_plain_call_is_read() -> None:
    call = read({**PLAIN, "maxDuration": "0090.5s", "metadata": {"a": ""}})
    assert call == CallRequest(
        from_number="+14155559876", to_number="+14155551234", max_duration_s=90.5, metadata={"a": ""}
    )


def test_ai_call_is_read_and_its_tools_stay_as_written() -> None:
    given = {**AI, "model": "fixie-ai/ultravox-70B", "voice": "Mark", "firstSpeaker": "user", "temperature": 0}
    call = read(given)
    assert call.agent == AgentSettings(
        system_prompt="Be kind.",
        model="fixie-ai/ultravox-70B",
        voice="Mark",
        tools=(TOOL,),
        first_speaker="user",
        temperature=0.0,
    )
    assert json.dumps(call.agent.tools) == json.dumps((TOOL,))


E164 = "Expected the number to call in E.164: + and 7 to 15 digits, the first not 0 (+14155551234)."


@pytest.mark.parametrize(
    "number",
    [
        "+04155551234",
        "+1415555123456789",
        "+141555",
        "14155551234",
        "0014155551234",
        "+1 415 555 1234",
        " +14155551234",
        "+14155551234 ",
        "+14155551234\n",
        "\u00a0+14155551234",
        "+1415555123\u0664",
        "+１４１５５５５１２３４",
        "+14155551234;user=phone",
        "+14155551234@evil.example",
        "+14155551234>\r\nX-Evil: 1",
        "sip:+14155551234@evil.example",
        "",
    ],
)
def test_number_that_is_not_e164_is_a_bad_request(number: str) -> None:
    assert refused({**PLAIN, "to": number}) == (400, {"to": E164})
    assert refused({**PLAIN, "from": number, "to": number})[0] == 400


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        (without(PLAIN, "to"), "to", E164.replace("Expected", "Required:")),
        ({**PLAIN, "to": 14155551234}, "to", E164),
        ({**PLAIN, "to": None}, "to", E164),
        ({**PLAIN, "to": ["+14155551234"]}, "to", E164),
        ({**PLAIN, "systemprompt": "x"}, "systemprompt", "Unknown field; did you mean systemPrompt?"),
        ({**PLAIN, "agentId": "x"}, "agentId", "Unknown field; known: from, to, systemPrompt, model, voice, tools, "
         "firstSpeaker, temperature, maxDuration, metadata."),
        ({**PLAIN, "metadata": {"order": 7}}, "metadata.order", "Expected a valid string."),
        ({**PLAIN, "metadata": {"order": None}}, "metadata.order", "Expected a valid string."),
        ({**PLAIN, "metadata": {"ultravox.x": "1"}}, "metadata.ultravox.x",
         'Expected a key that does not begin with "ultravox." (reserved).'),
        ({**AI, "temperature": 2}, "temperature", "Expected a number from 0 to 1."),
        ({**AI, "temperature": -0.1}, "temperature", "Expected a number from 0 to 1."),
        ({**AI, "temperature": True}, "temperature", "Expected a number from 0 to 1."),
        ({**AI, "temperature": "0.5"}, "temperature", "Expected a number from 0 to 1."),
        ({**AI, "temperature": 10**400}, "temperature", "Expected a number from 0 to 1."),
        ({**AI, "firstSpeaker": "Agent"}, "firstSpeaker", 'Expected "agent" or "user".'),
        ({**AI, "tools": {}}, "tools", "Expected an array of at most 64 HTTP tools that the AI can call."),
        ({**AI, "tools": ["x"]}, "tools[0]", "Expected an object."),
        ({**AI, "tools": [without(TOOL, "modelToolName")]}, "tools[0].modelToolName",
         "Required: the name the model calls the tool by: 1 to 64 of the characters a-z A-Z 0-9 _ -."),
        (tool(modelToolName="look up"), "tools[0].modelToolName",
         "Expected the name the model calls the tool by: 1 to 64 of the characters a-z A-Z 0-9 _ -."),
        (
            tool(modelToolName="pressKeys"),
            "tools[0].modelToolName",
            "Expected another name: pressKeys is Trunkline's own tool.",
        ),
        ({**AI, "tools": [TOOL, TOOL]}, "tools[1].modelToolName", "Expected a unique name; tools[0] has this one."),
        (tool(http={"baseUrlPattern": "https://x.example/{id}", "httpMethod": "get"}), "tools[0].http.httpMethod",
         "Expected GET, POST, PUT, PATCH or DELETE, in capitals."),
        (tool(http={"baseUrlPattern": "https://x.example/", "httpMethod": "GET"}), "tools[0].dynamicParameters[0].name",
         "Expected http.baseUrlPattern to contain {id}, as this is a PATH parameter."),
        (tool(dynamicParameters=[]), "tools[0].http.baseUrlPattern",
         "Expected a PATH parameter for {id} in dynamicParameters."),
        (tool(dynamicParameters=[without(TOOL["dynamicParameters"][0], "required")]),
         "tools[0].dynamicParameters[0].required", "Expected true, as this is a PATH parameter."),
        (tool(dynamicParameters=[{**TOOL["dynamicParameters"][0], "locations": 1}]),
         "tools[0].dynamicParameters[0].locations", "Unknown field; did you mean location?"),
        (tool(client={}), "tools[0].client",
         "Unknown field; known: modelToolName, description, dynamicParameters, http."),
    ],
)  # fmt: skip
def test_mistake_is_reported_at_its_field_with_the_expectation(value: dict[str, Any], field: str, message: str) -> None:
    assert refused(value) == (422, {field: message})


@pytest.mark.parametrize(
    "duration", [300, "300", "300S", "5m", "0s", "0.9s", "86401s", "-1s", "1e3s", " 300s", "٣s", "", None]
)
def test_duration_is_a_string_of_seconds_within_a_day(duration: object) -> None:
    expected = 'Expected a string of seconds such as "300s", from "1s" to "86400s".'
    assert refused({**PLAIN, "maxDuration": duration}) == (422, {"maxDuration": expected})


@pytest.mark.parametrize("prompt", ["", " \n\t", "\u00a0", None, 1, "x" * 100_001, "bell \x07"])
def test_prompt_that_says_nothing_is_an_error_not_a_plain_call(prompt: object) -> None:
    status, errors = refused({**PLAIN, "systemPrompt": prompt})
    assert (status, list(errors)) == (422, ["systemPrompt"])


def test_each_ai_field_without_a_prompt_is_reported() -> None:
    value = {**PLAIN, "model": "m", "voice": "v", "tools": [], "firstSpeaker": "agent", "temperature": 0}
    message = "This field is for AI calls only: it needs systemPrompt."
    assert refused(value) == (
        422,
        dict.fromkeys(["model", "voice", "tools", "firstSpeaker", "temperature"], message),
    )


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example/", "x.example", "https://", "https:///x", "https://x.example/?a=b", "https://x.example/?",
        "https://x.example/#a", "https://x.example/a b", "https://x.example/\r\nHost: y", "https://x.example:99999/",
        "https://[::1/", "https://x.example/%7Bid%7D", "https://x.exämple/", "javascript:alert(1)", "",
    ],
)  # fmt: skip
def test_tool_url_is_absolute_http_without_a_query(url: str) -> None:
    status, errors = refused(tool(http={"baseUrlPattern": url, "httpMethod": "GET"}))
    assert (status, list(errors)) == (422, ["tools[0].http.baseUrlPattern"])


@pytest.mark.parametrize("field", ["model", "voice"])
@pytest.mark.parametrize("value", ["", "  ", "a\r\nb", "x" * 201, 1, None])
def test_names_are_single_lines_of_bounded_length(field: str, value: object) -> None:
    status, errors = refused({**AI, field: value})
    assert (status, list(errors)) == (422, [field])


@pytest.mark.parametrize(
    "metadata",
    [[], "x", None, {str(n): "" for n in range(51)}, {"k" * 65: ""}, {"": ""}, {"k": "v" * 4097}, {"k": "\x1b"}],
)
def test_metadata_is_a_bounded_object_of_strings(metadata: object) -> None:
    assert refused({**PLAIN, "metadata": metadata})[0] == 422


def test_every_mistake_is_reported_at_once_and_any_but_a_number_makes_it_422() -> None:
    value = {"from": "+0", "maxDuration": 300, "temperature": 2, "systemprompt": "x", "metadata": {"a": 1}}
    status, errors = refused(value)
    assert status == 422
    assert set(errors) == {"from", "to", "maxDuration", "temperature", "systemprompt", "metadata.a"}
    assert refused({"from": "+0", "to": "+0"})[0] == 400


def test_flood_of_unknown_fields_is_answered_in_bounded_length() -> None:
    status, errors = refused({**PLAIN, **{f"x{n}": 1 for n in range(9_000)}})
    assert status == 422
    assert len(errors) <= 50


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)
near_calls = st.fixed_dictionaries(
    {"from": st.just("+14155559876") | json_values, "to": st.just("+14155551234") | json_values},
    optional={
        "systemPrompt": st.just("hello") | json_values,
        "tools": st.lists(
            st.fixed_dictionaries({}, optional={**dict.fromkeys(TOOL, json_values), "x": json_values})
            | st.just(TOOL)
            | json_values
        )
        | json_values,
        **dict.fromkeys(["model", "voice", "firstSpeaker", "temperature", "maxDuration", "metadata"], json_values),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(near_calls | json_values)
async def test_no_json_value_makes_the_server_fail(client: httpx.AsyncClient, engine: FakeEngine, value: Any) -> None:
    before = len(engine.calls)
    response = await client.post("/api/voice", content=json.dumps(value), headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 400, 422)
    assert len(engine.calls) - before == (response.status_code == 200)


hostile = st.text(max_size=20) | st.from_regex(r"\+?[0-9]{6,16}[\s\S]{0,4}", fullmatch=True)


@given(hostile, hostile, st.text(max_size=30))
def test_only_digits_after_a_plus_can_ever_reach_a_sip_header(caller: str, callee: str, prompt: str) -> None:
    value = {"from": caller, "to": callee, "systemPrompt": prompt, "metadata": {"k": prompt}}
    with contextlib.suppress(Refusal):
        call = read(value)
        assert re.fullmatch(r"\+[1-9][0-9]{1,14}", call.from_number)
        assert re.fullmatch(r"\+[1-9][0-9]{1,14}", call.to_number)


@pytest.mark.parametrize(
    "tail",
    [
        "\n", "\r\nX-Evil: 1", ";ext=5", "@evil.example", ">", "<sip:x>", "%0d%0a", "\u0661", "\u2028", ",+14155550000",
        " ", "$(id)",
    ],
)  # fmt: skip
def test_number_followed_by_anything_is_refused(tail: str) -> None:
    status, errors = refused({"from": "+14155559876" + tail, "to": "+14155551234" + tail})
    assert (status, set(errors)) == (400, {"from", "to"})
