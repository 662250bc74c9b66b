from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.cli import main
from engine.records import Environment
from engine.store import open_store
from engine.webhooks.subscriptions import subscribe
from tests.api.cli.conftest import Trunkline
from tests.engine.webhooks.receiver import Receiver


async def add_webhook(url: str) -> tuple[str, str]:
    """Its id and its secret."""
    store = await open_store("sqlite:///trunkline.db")
    webhook = subscribe(Environment.TEST, url, ["voice.*"], datetime.now(UTC))
    await store.add_webhook(webhook)
    await store.aclose()
    return webhook.id, webhook.secret


def test_listed_webhook_shows_neither_its_secret_nor_its_query(trunkline: Trunkline) -> None:
    webhook_id, secret = asyncio.run(add_webhook("https://example.com/hook?token=abc"))
    code, out, _ = trunkline("webhooks", "list")
    assert code == 0
    assert webhook_id[:20] in out.replace("\n", "")
    assert secret not in out
    assert "token" not in out


@pytest.mark.usefixtures("trunkline")
@pytest.mark.parametrize(("status", "code"), [(204, 0), (302, 1), (500, 1)])
async def test_test_event_is_signed_and_its_answer_is_printed(
    status: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Receiver(lambda _: status).listening() as receiver:
        webhook_id, secret = await add_webhook(f"http://127.0.0.1:{receiver.port}/hook")
        await asyncio.to_thread(Path("trunkline.toml").write_text, "[webhooks]\nallow_private = true\n")
        with pytest.raises(SystemExit) as exit_:
            await asyncio.to_thread(main, ("webhooks", "test", webhook_id))
        (request,) = receiver.received
    request.verify(secret)
    assert request.event["type"] == "webhook.test"
    assert int(exit_.value.code or 0) == code
    assert re.match(rf"The endpoint answered {status} after [0-9]+ ms\.", capsys.readouterr().out)


def test_test_of_a_private_target_is_refused_as_the_server_would(trunkline: Trunkline) -> None:
    webhook_id, _ = asyncio.run(add_webhook("http://127.0.0.1:9/hook"))
    code, out, err = trunkline("webhooks", "test", webhook_id)
    assert (code, out) == (1, "")
    assert "webhooks.allow_private" in err


def test_unknown_webhook_is_reported(trunkline: Trunkline) -> None:
    code, _, err = trunkline("webhooks", "test", "whk_nobody")
    assert code == 1
    assert "trunkline webhooks list" in err
