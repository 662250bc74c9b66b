"""The README keeps step with the code."""

from __future__ import annotations

import re
from pathlib import Path

from engine.call_state import TRANSITIONS
from engine.config import Config, TrunkConfig
from engine.outcome import Cause

README = (Path(__file__).parent.parent / "README.md").read_text()


def state_diagram() -> str:
    """The states and what moves between them, as Mermaid."""
    moves = [
        f"    {state} --> {after}: {trigger}"
        for state, row in TRANSITIONS.items()
        for trigger, after in row.items()
        if after is not state
    ]
    return "\n".join(["stateDiagram-v2", "    [*] --> trying", *moves, "    terminated --> [*]"])


def test_the_state_diagram_is_the_tables() -> None:
    found = re.search(r"<!-- state diagram -->\n```mermaid\n(.*?)\n```", README, re.DOTALL)
    assert found and found[1] == state_diagram()


def test_every_setting_is_in_the_configuration_table() -> None:
    table = README.partition("## Configuration")[2].partition("## API")[0]
    for section, values in Config().redacted().items():
        trunk = [field.alias or name for name, field in TrunkConfig.model_fields.items()]
        names = trunk if section == "trunks" else values
        for name in names:
            assert f"`{section}{'[]' * (section == 'trunks')}.{name}`" in table or f"`{name}`" in table, (section, name)


def test_every_cause_is_explained() -> None:
    api = README.partition("## API")[2].partition("## Command line")[0]
    assert [cause for cause in Cause if f"`{cause}`" not in api] == []
