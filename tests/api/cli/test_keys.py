from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.cli.keys import add_key, temporary_key
from engine.config.settings import Config, StoreConfig
from engine.keys import keys
from engine.keys.key import ApiKey
from engine.records import Environment
from engine.store import open_store
from tests.api.cli.conftest import Trunkline


async def stored(secret: str, url: str = "sqlite:///trunkline.db") -> ApiKey | None:
    store = await open_store(url)
    try:
        return await store.find_key(keys.digest(secret))
    finally:
        await store.aclose()


@pytest.mark.parametrize(("option", "environment"), [((), Environment.LIVE), (("--test",), Environment.TEST)])
def test_create_prints_the_key_alone(trunkline: Trunkline, option: tuple[str, ...], environment: Environment) -> None:
    code, out, err = trunkline("keys", "create", "--name", "shop", *option)
    assert code == 0
    assert err == ""
    assert re.fullmatch(rf"tk_{environment}_[A-Za-z0-9_-]{{43}}\n", out)


async def test_created_key_has_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(store=StoreConfig(url="sqlite:///other.db"))
    secret, _ = await add_key(config, Environment.TEST, "mine", timedelta(minutes=1))
    key = await stored(secret, "sqlite:///other.db")
    assert key is not None
    assert key.name == "mine"
    assert key.environment is Environment.TEST
    assert keys.usable(key, datetime.now(UTC))
    assert not keys.usable(key, datetime.now(UTC) + timedelta(minutes=2))


def test_list_shows_names_scopes_and_ends_but_no_key(trunkline: Trunkline) -> None:
    limits = ("--scopes", "voice:read, voice:call", "--rate-limit", "2.5")
    secret = trunkline("keys", "create", "--name", "shop", *limits)[1]
    trunkline("keys", "create", "--name", "guest", "--expires", "2h")
    trunkline("keys", "create", "--name", "year", "--expires", "2999-12-31")
    code, out, _ = trunkline("keys", "list")
    assert code == 0
    assert secret.strip() not in out
    rows = [line.split("  ") for line in out.splitlines() if "tk_live_" in line]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [row[1] for row in cells] == ["shop", "guest", "year"]
    assert cells[0][2:4] == ["voice:call voice:read", "2.5/s"]
    assert cells[0][5:7] == ["never", "in use"]
    assert cells[1][6].startswith("in use, ends ")
    assert cells[2][6] == "in use, ends 2999-12-31 00:00"


def test_revoked_key_is_listed_as_such(trunkline: Trunkline) -> None:
    secret = trunkline("keys", "create", "--name", "shop")[1]
    code, out, _ = trunkline("keys", "revoke", secret[:14])
    assert code == 0
    assert out == f"Revoked {secret[:14]} (shop).\n"
    assert "revoked 20" in trunkline("keys", "list")[1]


def test_revoking_what_is_not_there_says_so(trunkline: Trunkline) -> None:
    code, out, err = trunkline("keys", "revoke", "tk_live_nobody")
    assert code == 1
    assert out == ""
    assert err == "trunkline: No single key has the id or prefix 'tk_live_nobody'; see `trunkline keys list`.\n"


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--scopes", "voice:cal", "got voice:cal"),
        ("--scopes", "", "expected scopes among"),
        ("--rate", "0", "above 0 requests per second"),
        ("--rate", "nan", "above 0 requests per second"),
        ("--expires", "2020-01-01", "2020-01-01 is over"),
        ("--expires", "soon", "a time such as 12h or 90d"),
    ],
)
def test_key_that_makes_no_sense_is_not_made(trunkline: Trunkline, option: str, value: str, complaint: str) -> None:
    code, out, err = trunkline("keys", "create", "--name", "shop", option, value)
    assert code == 2
    assert out == ""
    assert complaint in err
    assert not Path("trunkline.db").exists()


async def test_temporary_key_is_usable_inside_and_revoked_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError):
        async with temporary_key(Config(), Environment.LIVE, "brief", timedelta(hours=1)) as secret:
            inside = await stored(secret)
            assert inside is not None
            assert keys.usable(inside, datetime.now(UTC))
            raise RuntimeError
    after = await stored(secret)
    assert after is not None
    assert after.revoked_at is not None
