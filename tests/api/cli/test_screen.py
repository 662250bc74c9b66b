from __future__ import annotations

import pytest

from api.cli.screen import console, printable


def test_text_from_elsewhere_cannot_move_the_cursor() -> None:
    assert printable("a\x1b[2Jb\r\nc\u2028d\x00") == "a [2Jb  c d "


def test_table_for_a_program_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("x" * 200)
    assert capsys.readouterr().out == "x" * 200 + "\n"
