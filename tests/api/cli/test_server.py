from __future__ import annotations

import socket

import httpx
import pytest

from api.cli import server
from api.cli.failure import CommandFailed
from engine.config.settings import Config, HttpConfig
from engine.log import LogSettings
from tests.api.cli.fake_engine import running

CONFIG = Config(http=HttpConfig(port=0))


async def health(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"{url}/healthz")).status_code


async def test_api_answers_until_the_engine_has_closed_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[int] = []

    async def closing() -> None:
        answers.append(await health(url))

    monkeypatch.setattr(server, "running_engine", running(closing=closing))
    async with server.running_server(CONFIG, log=LogSettings()) as served:
        url = served.url
        assert await health(url) == 200
    assert answers == [200]
    assert served.serving.done()
    with pytest.raises(httpx.ConnectError):
        await health(url)


async def test_server_is_gone_after_a_failure_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "running_engine", running())
    with pytest.raises(RuntimeError):
        async with server.running_server(CONFIG, log=LogSettings()) as served:
            raise RuntimeError
    with pytest.raises(httpx.ConnectError):
        await health(served.url)


async def test_port_in_use_is_reported_before_the_engine_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[None] = []
    monkeypatch.setattr(server, "running_engine", running(started=lambda: starts.append(None)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(http=HttpConfig(port=taken.getsockname()[1]))
        with pytest.raises(CommandFailed, match="Is Trunkline running already"):
            async with server.running_server(config, log=LogSettings()):
                pass
    assert starts == []


def test_answers_leave_at_once_whatever_the_client_has_acknowledged() -> None:
    with server._listen(HttpConfig(port=0)) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
