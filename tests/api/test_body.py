from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.body import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse
from api.problems import Refusal

CALL = b'{"from": "+14155559876", "to": "+14155551234"}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "not JSON: Expecting value"),
        (b"hello", "not JSON: Expecting value"),
        (b'{"to": }', "not JSON: Expecting value at line 1 column 8"),
        (CALL + b"x", "not JSON: Extra data"),
        (b"\xef\xbb\xbf{}", "not JSON: Unexpected UTF-8 BOM"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"to": "\xff"}', "not UTF-8"),
        (CALL.decode().encode("utf-16"), "not UTF-8"),
        (b'{"to": "a\nb"}', "not JSON: Invalid control character"),
        (b'{"to": "\\ud800"}', "unpaired surrogate"),
        (b'{"\\udfff": 1}', "unpaired surrogate"),
        (b'{"to": "\\u0000"}', "NUL character"),
        (b'{"to": "\\\\\\u0000"}', "NUL character"),
        (b'{"temperature": NaN}', "NaN is not a JSON value"),
        (b'{"temperature": -Infinity}', "-Infinity is not a JSON value"),
        (b'{"temperature": 1e999}', "too large"),
        (b'{"temperature": ' + b"1" * 5000 + b"}", "too long"),
        (b'{"to": "+14155551234", "to": "+19005551234"}', "name 'to' twice"),
        (b'{"a": {"\\u0062": 1, "b": 2}}', "name 'b' twice"),
        (b'{"a":' + b"[" * 500_000, "nested more than 64"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested more than 64"),
        (b'{"a":[' + b"1," * MAX_VALUES + b"1]}", "more than 10000 values"),
    ],
)
async def test_body_that_is_not_one_json_object_answers_400_and_says_why(
    client: httpx.AsyncClient, text: bytes, complaint: str
) -> None:
    response = await client.post("/api/voice", content=text, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["type"].endswith("/bad-request")
    assert complaint in response.json()["detail"]


def test_depth_up_to_the_limit_is_accepted() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    parse(nested(MAX_DEPTH))
    with pytest.raises(Refusal):
        parse(nested(MAX_DEPTH + 1))


def test_backslash_before_u0000_is_ordinary_text() -> None:
    assert parse(b'{"a": "\\\\u0000"}').members == {"a": "\\u0000"}


def test_digest_depends_on_members_not_on_spelling() -> None:
    one = parse(CALL).digest
    assert one == parse(b'{"to":"\\u002b14155551234",\n"from":"+14155559876"}').digest
    assert one != parse(b'{"from": "+14155559876", "to": "+14155551235"}').digest
    assert one != parse(b'{"from": "+14155559876", "to": "+14155551234", "metadata": {}}').digest


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), st.integers()))
def test_same_members_in_another_order_have_the_same_canonical_form(value: dict[str, int]) -> None:
    turned = dict(reversed(value.items()))
    one, other = parse(json.dumps(value).encode()), parse(json.dumps(turned, indent=1, ensure_ascii=False).encode())
    assert (one.canonical, one.digest) == (other.canonical, other.digest)


@given(json_values)
def test_any_json_is_parsed_whole_or_refused(value: Any) -> None:
    try:
        body = parse(json.dumps(value).encode())
    except Refusal:
        return
    assert body.members == value == json.loads(body.canonical)


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(content: bytes) -> None:
    with contextlib.suppress(Refusal):
        parse(content)


async def test_body_declared_too_large_answers_413_without_being_read(client: httpx.AsyncClient) -> None:
    async def unread() -> AsyncIterator[bytes]:
        read.append(True)
        yield b""

    read: list[bool] = []

    for size in (str(MAX_BYTES + 1), "9" * 30):
        headers = {"Content-Length": size, "Content-Type": "application/json"}
        response = await client.post("/api/voice", content=unread(), headers=headers)
        assert response.status_code == 413
        assert response.json()["type"].endswith("/content-too-large")
    assert not read


async def test_body_of_two_megabytes_answers_413(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/voice", json={"systemPrompt": "x" * 2_000_000})
    assert response.status_code == 413


async def test_body_that_grows_too_large_answers_413_and_the_rest_is_not_read(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    response = await client.post("/api/voice", content=endless(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert sent <= MAX_BYTES + 2 * 65_536


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "Application/JSON ; charset=UTF-8"}, 200),
        ({"Content-Type": 'application/json;charset="utf-8"'}, 200),
        ({"Content-Type": "application/json", "Content-Encoding": "identity"}, 200),
        ({"Content-Type": "application/json; charset=utf-16"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/jsonp"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
    ],
)
async def test_only_plain_json_is_taken_and_no_content_type_counts_as_json(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await client.post("/api/voice", content=CALL, headers=headers)).status_code == status
