"""The README keeps step with the code."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.commands import app
from engine.calls.state import TRANSITIONS
from engine.config.settings import Config, SipConfig
from engine.config.trunk import TrunkConfig
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
        fields = TrunkConfig.model_fields.items()
        names = [field.alias or name for name, field in fields] if section == "trunks" else values
        for name in names:
            assert f"`{section}{'[]' * (section == 'trunks')}.{name}`" in table or f"`{name}`" in table, (section, name)


def test_every_cause_is_explained() -> None:
    api = README.partition("## API")[2].partition("## Command line")[0]
    assert [cause for cause in Cause if f"`{cause}`" not in api] == []


def service_unit() -> str:
    found = re.search(r"```ini\n(\[Unit\].*?)```", README, re.DOTALL)
    assert found
    return found[1]


def test_the_service_runs_a_command_that_exists_and_is_given_time_to_drain() -> None:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(service_unit())
    service = unit["Service"]
    program, command, *options = service["ExecStart"].split()
    assert (program.rpartition("/")[2], command) == ("trunkline", "serve")
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
    assert options[0] in CliRunner().invoke(app, [command, "--help"]).output
    assert int(service["TimeoutStopSec"]) >= SipConfig().drain_timeout_s + 60


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_to_complain_about_in_the_service(tmp_path: Path) -> None:
    program = tmp_path / "trunkline"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "trunkline.service"
    unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={program}", service_unit()))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
