from __future__ import annotations

from typing import Any

import pytest

from api.cli.client import Client, url_of
from api.cli.failure import CommandFailed
from engine.config.settings import HttpConfig
from tests.api.cli.fake_server import CALL_ID, fake_server, status, turn

KEY = "tk_test_x"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("::1", "http://[::1]:8080"),
        ("phone.example", "http://phone.example:8080"),
    ],
)
def test_server_is_reached_where_it_listens(host: str, url: str) -> None:
    assert url_of(HttpConfig(host=host)) == url


async def test_call_is_placed_followed_and_hung_up_with_the_key() -> None:
    events = [status("ringing"), ": still here\n\n", turn(0, "Agent", "Hello\u2028there"), status("completed")]
    with fake_server(events) as server:
        async with Client(server.url, KEY) as client:
            placed = await client.place({"to": "+1"})
            followed = [(name, data.get("status") or data["text"]) async for name, data in client.follow(CALL_ID)]
            await client.hang_up(CALL_ID)
    assert placed["id"] == CALL_ID
    assert followed == [("status", "ringing"), ("transcript", "Hello\u2028there"), ("status", "completed")]
    assert server.keys == {KEY}
    assert server.requests == [
        ("POST", "/api/voice", {"to": "+1"}),
        ("GET", f"/api/voice/{CALL_ID}/events", None),
        ("DELETE", f"/api/voice/{CALL_ID}", None),
    ]


PROBLEM = {"type": "x", "title": "Bad request", "status": 400, "detail": "No call was placed."}
MISTAKES = [{"field": "to", "message": "Expected a number."}, {"field": "from", "message": "Expected another."}]


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ((401, {**PROBLEM, "detail": "The key is not valid."}), "The key is not valid."),
        (
            (400, {**PROBLEM, "errors": MISTAKES}),
            "No call was placed.\n  to: Expected a number.\n  from: Expected another.",
        ),
        ((502, {"message": "a proxy's"}), "The server answered 502 Bad Gateway."),
    ],
)
async def test_refusal_is_reported_in_the_servers_words(refusal: tuple[int, dict[str, Any]], sentence: str) -> None:
    with fake_server(refusal=refusal) as server:
        async with Client(server.url, KEY) as client:
            with pytest.raises(CommandFailed) as failure:
                await client.place({})
            assert str(failure.value) == sentence
            with pytest.raises(CommandFailed) as failure:
                async for _ in client.follow(CALL_ID):
                    pass
            assert str(failure.value) == sentence


async def test_nobody_listening_says_how_to_start_a_server() -> None:
    with fake_server() as server:
        url = server.url
    async with Client(url, KEY) as client:
        with pytest.raises(CommandFailed, match="Start one: trunkline serve"):
            await client.place({})


async def test_another_program_listening_is_reported() -> None:
    with fake_server(["data: <html>\n\n"]) as server:
        async with Client(server.url, KEY) as client:
            with pytest.raises(CommandFailed, match="is not Trunkline"):
                async for _ in client.follow(CALL_ID):
                    pass
