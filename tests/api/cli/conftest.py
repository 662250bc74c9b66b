from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api.cli import main

Trunkline = Callable[..., tuple[int, str, str]]


@pytest.fixture
def trunkline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Trunkline:
    """Runs the command in an empty folder: arguments in, exit code, stdout and stderr out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRUNKLINE_CONFIG", raising=False)
    monkeypatch.delenv("TRUNKLINE_KEY", raising=False)
    monkeypatch.setattr(sys, "argv", ["trunkline"])

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        printed = capsys.readouterr()
        return int(exit_.value.code or 0), printed.out, printed.err

    return run
