from __future__ import annotations

import json
import logging
import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.cli import serve, server
from engine.config.settings import Config, HttpConfig
from tests.api.cli.conftest import Trunkline
from tests.api.cli.fake_engine import running
from tests.api.cli.fake_server import RECORD

TRUNK = '[[trunks]]\nname = "main"\nuri = "sip:carrier.example"\n'


def signalled(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _quiet_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(serve, "set_up_logging", lambda settings: None)
    level = logging.getLogger("trunkline").level
    yield
    logging.getLogger("trunkline").setLevel(level)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_signalled_and_exits_with_0(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(server, "running_engine", running(started=lambda: signalled(number)))
    Path("trunkline.toml").write_text(TRUNK + "[http]\nport = 0\n")
    code, out, err = trunkline("serve", "--welcome")
    assert code == 0
    assert re.fullmatch(r"Trunkline answers at http://127\.0\.0\.1:[0-9]+\.\n", out)
    assert err == ""


def test_serving_without_a_trunk_says_what_can_be_done(trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "running_engine", running(started=lambda: signalled(signal.SIGINT)))
    Path("trunkline.toml").write_text("[http]\nport = 0\n")
    assert "only tk_test_ keys can call" in trunkline("serve")[1]


def test_mistaken_configuration_starts_nothing(trunkline: Trunkline) -> None:
    Path("trunkline.toml").write_text("[http]\nprt = 0\n")
    code, out, err = trunkline("serve")
    assert code == 2
    assert out == ""
    assert "http.prt: is no setting; did you mean port?" in err


def test_welcome_places_a_sandbox_call_then_prints_the_next_one(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[Any] = []

    async def watch_call(client: object, body: dict[str, str]) -> dict[str, Any]:
        placed.append(body)
        return RECORD

    curl = serve.curl

    def last_word(url: str, key: str) -> str:
        signalled(signal.SIGINT)
        return curl(url, key)

    monkeypatch.setattr(server, "running_engine", running())
    monkeypatch.setattr(serve, "watch_call", watch_call)
    monkeypatch.setattr(serve, "curl", last_word)
    monkeypatch.setattr(serve, "load_config", lambda path, environ: Config(http=HttpConfig(port=0)))
    code, out, err = trunkline("serve", "--welcome")
    assert code == 0
    assert err == ""
    assert placed == [serve.FIRST_CALL]
    assert re.search(r"^curl http://127\.0\.0\.1:[0-9]+/api/voice -H 'Authorization: Bearer tk_test_\S{43}'", out, re.M)


def test_printed_curl_is_one_shell_command_with_the_call_as_json() -> None:
    words = shlex.split(serve.curl("http://h:1", "tk_test_x"))
    assert words[:4] == ["curl", "http://h:1/api/voice", "-H", "Authorization: Bearer tk_test_x"]
    assert json.loads(words[-1]) == serve.FIRST_CALL
