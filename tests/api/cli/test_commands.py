from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.cli.conftest import Trunkline

COMMANDS = ("serve", "demo", "check", "call", "trunks", "keys", "webhooks")


def test_help_names_every_command(trunkline: Trunkline) -> None:
    code, out, _ = trunkline("--help")
    assert code == 0
    assert [command for command in COMMANDS if f"  {command} " not in out] == []


def test_help_imports_neither_the_engine_nor_a_server() -> None:
    code = "import sys, api.cli\ntry: api.cli.main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    imported = set(ran.stderr.split())
    assert "api.cli" in imported
    assert not imported & {"pydantic", "sqlalchemy", "httpx", "uvicorn", "numpy", "rich", "engine.assembly"}


@pytest.mark.parametrize(
    "arguments", [("nothing",), ("call",), ("keys", "create"), ("keys", "create", "--name", "a", "--rate", "often")]
)
def test_mistake_in_the_arguments_exits_with_2(trunkline: Trunkline, arguments: tuple[str, ...]) -> None:
    code, out, err = trunkline(*arguments)
    assert code == 2
    assert out == ""
    assert "Error:" in err


def test_database_that_cannot_be_opened_is_a_sentence_and_2(trunkline: Trunkline) -> None:
    Path("trunkline.toml").write_text('[store]\nurl = "sqlite:///no/such/folder/calls.db"')
    code, _, err = trunkline("keys", "list")
    assert code == 2
    assert err.startswith("trunkline: ")
    assert "store.url" in err
    assert "Traceback" not in err
