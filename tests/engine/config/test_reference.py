from __future__ import annotations

import pytest

from engine.config.reference import README, Table, docstrings, reference, tables, updated
from engine.config.settings import Config
from engine.config.trunk import TrunkConfig


def row(key: str) -> list[str]:
    """The cells of the reference's row for ``key``: key, value, default and meaning."""
    [found] = [line for line in reference().splitlines() if line.startswith(f"| `{key}` |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


@pytest.mark.parametrize("table", list(tables()), ids=lambda table: table.title)
def test_every_setting_of_a_section_has_a_docstring(table: Table) -> None:
    assert list(docstrings(table.section)) == list(table.section.__annotations__)


def test_every_setting_has_a_row() -> None:
    for section, values in Config().model_dump(by_alias=True).items():
        fields = TrunkConfig.model_fields.items()
        names = [field.alias or name for name, field in fields] if section == "trunks" else values
        for name in names:
            assert f"\n| `{name}` |" in reference(), (section, name)


@pytest.mark.parametrize(
    ("key", "value", "default"),
    [
        ("ring_timeout", "time", '`"60s"`'),
        ("dscp_rtp", "whole number, 0 to 63", "`46`"),
        ("max_calls", "whole number, 1 or more", "`32`"),
        ("rtp_ports", "two ports", '`"16000-17999"`'),
        ("codecs", 'list: `"PCMU"`, `"PCMA"`, `"G722"`', '`["PCMU", "PCMA", "G722"]`'),
        ("sample_rate", '`"auto"`, `8000`, `16000`, `24000`, `48000`', '`"auto"`'),
        ("probe_interval", "time", "–"),
        ("press_keys", "`true` or `false`", "`true`"),
        ("key_calls_per_day", "whole number, 0 or more", "`0`"),
        ("tls.verify", "`true` or `false`", "`true`"),
        ("name", "1 to 40 of `A-Z a-z 0-9 . _ -`", "required"),
        ("api_key", "text, secret", "–"),
    ],
)
def test_row_says_what_may_stand_there_and_the_default(key: str, value: str, default: str) -> None:
    rows = [line for line in reference().splitlines() if line.startswith(f"| `{key}` | {value} | {default} |")]
    assert len(rows) == 1


def test_meaning_is_the_docstring_as_markdown() -> None:
    assert row("display_name")[3] == "The caller's name, in From and in the identity header."
    assert "`;user=phone`" in row("user_phone")[3]


def test_only_the_tables_of_the_readme_are_rewritten() -> None:
    text = README.read_text(encoding="utf-8")
    outdated = text.replace("| `ring_timeout` |", "| `rings` |")
    assert outdated != text
    assert updated(outdated) == text
