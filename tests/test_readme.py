"""The documentation keeps step with the code, and its links and commands work."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from importlib.resources import files
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from api import problems
from api.cli.commands import app
from api.openapi import document
from engine.calls.state import TRANSITIONS
from engine.config import reference
from engine.config.file import load_config
from engine.config.settings import SipConfig
from engine.keys.keys import SCOPES
from engine.outcome import Cause
from engine.webhooks.subscriptions import EVENTS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *(path for top in ("api", "engine", "sip-test-configs") for path in (ROOT / top).rglob("*.md")),
    )
)
README, ENGINE, API, CLI = (
    (ROOT / path).read_text(encoding="utf-8")
    for path in ("README.md", "engine/README.md", "api/README.md", "api/cli/README.md")
)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


# -- the door ----------------------------------------------------------------------------------------------------------


def test_the_readme_is_a_door_and_no_manual() -> None:
    assert len(README.splitlines()) <= 150


def test_the_trunk_of_the_readme_is_a_good_configuration(tmp_path: Path) -> None:
    found = re.search(r"<<'TOML'\n(.*?)^TOML$", README, re.DOTALL | re.MULTILINE)
    assert found
    file = tmp_path / "trunkline.toml"
    file.write_text(found[1], encoding="utf-8")
    [trunk] = load_config(file, {"TRUNK_PASSWORD": "secret", "ULTRAVOX_API_KEY": "key"}).trunks
    assert trunk.name == "main"


# -- links and commands ------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", FENCE.sub("", text)):
        path, _, anchor = target.partition("#")
        leads_to = (document.parent / path).resolve() if path else document
        assert leads_to.exists(), target
        if anchor:
            assert anchor in anchors(leads_to.read_text(encoding="utf-8")), target


def command_lines(text: str) -> Iterator[list[str]]:
    """The words after `trunkline` or `make`, with that word, of each command in a shell block or in inline code."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for line in (*"".join(blocks).splitlines(), *re.findall(r"`([^`\n]+)`", FENCE.sub("", text))):
        for command in re.split(r"&&|\||[();]", line.partition("#")[0]):
            if found := re.search(r"(?:^|\s|bin/)(trunkline|make) (?=[a-z])(.*)", command):
                yield [found[1], *found[2].split()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_exists_with_its_options(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {target for line in targets for target in line.split()}
    for program, *words in command_lines(document.read_text(encoding="utf-8")):
        if program == "make":
            assert words[0] in known, words
            continue
        command = typer.main.get_command(app)
        while commands := getattr(command, "commands", None):
            assert words, "the name of a command is missing"
            assert words[0] in commands
            command = commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert [word for word in words if word.startswith("--") and word not in {*options, "--help"}] == []


def test_every_command_is_listed() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    names: set[str] = set()
    for name, command in commands.items():
        below = getattr(command, "commands", ())
        names |= {f"{name} {sub}" for sub in below} or {name}
    assert first_cells(CLI.partition("## As a service")[0]) == names


# -- what is generated, or listed --------------------------------------------------------------------------------------


def test_the_configuration_reference_is_up_to_date() -> None:
    """If not: python -m engine.config.reference."""
    text = reference.README.read_text(encoding="utf-8")
    assert reference.updated(text) == text


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
    found = re.search(r"<!-- state diagram -->\n```mermaid\n(.*?)\n```", ENGINE, re.DOTALL)
    assert found
    assert found[1] == state_diagram()


def test_every_room_of_the_engine_is_in_the_plan() -> None:
    plan = ENGINE.partition("## Rooms")[2].partition("## Words")[0]
    rooms = {f"{path.name}/" for path in (ROOT / "engine").iterdir() if (path / "__init__.py").exists()}
    modules = {path.name for path in (ROOT / "engine").glob("*.py")} - {"__init__.py"}
    assert {name for name in rooms | modules if f"`{name}`" not in plan} == set()


def section(text: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


def first_cells(text: str) -> set[str]:
    """What stands in backticks in the first cells of the tables."""
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_cause_is_explained() -> None:
    assert first_cells(section(API, "Why a call ended")) == set(Cause)


def test_every_operation_is_listed() -> None:
    paths: Mapping[str, Mapping[str, object]] = document()["paths"]
    assert first_cells(section(API, "Operations")) == {
        f"{method.upper()} {path}" for path, row in paths.items() for method in row
    }


def test_every_kind_of_error_is_explained() -> None:
    kinds = [kind for kind in vars(problems).values() if isinstance(kind, problems.Kind)]
    listed = re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", section(API, "Errors"), re.MULTILINE)
    assert sorted(listed) == sorted((str(kind.status), kind.slug) for kind in kinds)


def test_every_scope_and_every_event_is_explained() -> None:
    assert first_cells(section(API, "Keys and scopes")) == SCOPES
    assert first_cells(section(API, "Webhooks")) == set(EVENTS)


# -- the service -------------------------------------------------------------------------------------------------------


def service_unit() -> str:
    """The unit as it is installed with the package."""
    return (files("api.cli") / "trunkline.service").read_text(encoding="utf-8")


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
