from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from engine.keys.key import ApiKey
from engine.store import open_store
from tests.api.cli.conftest import Trunkline
from tests.api.cli.fake_server import ENDED, fake_server, status, turn

NUMBERS = ("call", "--to", "+15005550123", "--from", "+15005550100")
DONE = status("completed", duration=7, ended=ENDED, ai={"status": "ended", "duration": 6, "endReason": "hangup"})
CONVERSATION = [
    status("initiated"),
    status("ringing"),
    status("answered"),
    turn(0, "Agent", "Good morning!"),
    status("answered", ai={"status": "active"}),
    turn(1, "User", "Hello? \x1b[2J", truncated=True),
    DONE,
]


def stored_keys() -> list[ApiKey]:
    async def read() -> list[ApiKey]:
        store = await open_store("sqlite:///trunkline.db")
        try:
            return list(await store.list_keys())
        finally:
            await store.aclose()

    return asyncio.run(read())


def test_call_is_shown_from_start_to_end_with_a_summary(trunkline: Trunkline) -> None:
    with fake_server(CONVERSATION) as server:
        code, out, err = trunkline(
            *NUMBERS, "--prompt", "Be kind.", "--max-duration", "60s", "--key", "tk_x", "--url", server.url
        )
    assert code == 0
    assert err == ""
    told = [line.split(" s  ", 1)[1] for line in out.splitlines() if " s  " in line[:12]]
    assert told == [
        "initiated",
        "ringing",
        "answered",
        "Agent: Good morning!",
        "User: Hello?  [2J (cut off)",
        "completed",
    ]
    for fact in ("completed, 7 s", "agent-hangup, by the agent", "The agent hung up.", "ended, 6 s, hangup"):
        assert fact in out
    assert server.requests[0] == (
        "POST",
        "/api/voice",
        {"to": "+15005550123", "from": "+15005550100", "systemPrompt": "Be kind.", "maxDuration": "60s"},
    )
    assert server.keys == {"tk_x"}


def test_call_that_fails_exits_with_1_and_says_why(trunkline: Trunkline) -> None:
    busy = {"by": "callee", "cause": "busy", "sip": {"code": 486, "reason": "Busy Here"}, "detail": "Busy.", "hint": ""}
    with fake_server([status("failed", ended=busy)]) as server:
        code, out, _ = trunkline(*NUMBERS, "--key", "tk_x", "--url", server.url)
    assert code == 1
    assert "486 Busy Here" in out
    assert "busy, by the callee" in out


@pytest.mark.parametrize(
    ("config", "option", "prefix"),
    [
        ("", (), "tk_test_"),
        ('[[trunks]]\nname = "main"\nuri = "sip:carrier.example"\n', (), "tk_live_"),
        ('[[trunks]]\nname = "main"\nuri = "sip:carrier.example"\n', ("--test",), "tk_test_"),
    ],
)
def test_without_a_key_one_is_made_for_the_call_and_revoked(
    trunkline: Trunkline, config: str, option: tuple[str, ...], prefix: str
) -> None:
    Path("trunkline.toml").write_text(config)
    trunkline("keys", "create", "--name", "other")
    with fake_server([DONE]) as server:
        assert trunkline(*NUMBERS, *option, "--url", server.url)[0] == 0
    [used] = server.keys
    assert used.startswith(prefix)
    [other, made] = stored_keys()
    assert other.revoked_at is None
    assert made.name == "trunkline call"
    assert made.revoked_at is not None


def test_without_a_store_no_key_is_made_and_none_is_left_behind(trunkline: Trunkline) -> None:
    code, _, err = trunkline(*NUMBERS)
    assert code == 1
    assert "name its --config, or pass --key" in err
    assert not Path("trunkline.db").exists()


def test_interrupt_hangs_up_and_the_end_is_still_shown(trunkline: Trunkline) -> None:
    with fake_server([status("answered"), None, DONE]) as server:
        server.when_waiting = lambda: os.kill(os.getpid(), signal.SIGINT)
        code, out, err = trunkline(*NUMBERS, "--key", "tk_x", "--url", server.url)
    assert code == 0
    assert err == "Hanging up ...\n"
    assert "completed, 7 s" in out
    assert [method for method, _, _ in server.requests] == ["POST", "GET", "DELETE"]


def test_stream_that_stops_before_the_calls_end_is_a_failure(trunkline: Trunkline) -> None:
    with fake_server([status("answered")]) as server:
        code, _, err = trunkline(*NUMBERS, "--key", "tk_x", "--url", server.url)
    assert code == 1
    assert err == "trunkline: The server stopped sending the call's events before its end.\n"
