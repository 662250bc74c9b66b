"""Real processes: born from the fork server, heard, killed, replaced, and none left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.log import LogSettings
from engine.messages.commands import Stop
from engine.messages.edge import EdgeSettings
from engine.messages.settings import SimulatorReady, SimulatorSettings
from engine.processes.supervisor import ChildProcess, Supervisor

SETTINGS = SimulatorSettings(log=LogSettings(), api_key="secret")


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    await supervisor.close()


async def start(supervisor: Supervisor, gone: asyncio.Event) -> tuple[ChildProcess, Any]:
    async with asyncio.timeout(30):
        return await supervisor.start_ready_child(
            "engine.sandbox.simulator", "simulator", SETTINGS, on_event=lambda _: None, on_exit=gone.set
        )


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command_line_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def until_dead(pid: int) -> None:
    async with asyncio.timeout(30):
        while alive(pid):
            await asyncio.sleep(0.02)


async def test_a_child_reports_that_it_is_ready_and_leaves_when_stopped(supervisor: Supervisor) -> None:
    gone = asyncio.Event()
    child, ready = await start(supervisor, gone)
    assert isinstance(ready, SimulatorReady)
    assert "trunkline: simulator" in command_line_of(child.pid)
    child.send(Stop())
    await asyncio.wait_for(gone.wait(), 30)
    await until_dead(child.pid)


async def test_a_killed_child_is_noticed_at_once(supervisor: Supervisor) -> None:
    gone = asyncio.Event()
    child, _ = await start(supervisor, gone)
    os.kill(child.pid, signal.SIGKILL)
    await asyncio.wait_for(gone.wait(), 30)


async def test_children_outlive_a_killed_fork_server_and_the_next_one_gets_another(supervisor: Supervisor) -> None:
    gone = asyncio.Event()
    first, _ = await start(supervisor, gone)
    fork_server = parent_of(first.pid)
    os.kill(fork_server, signal.SIGKILL)
    await until_dead(fork_server)
    await asyncio.sleep(0.1)
    second, _ = await start(supervisor, asyncio.Event())
    assert alive(first.pid) and alive(second.pid)
    first.send(Stop())
    second.send(Stop())
    await until_dead(first.pid)


async def test_a_fork_server_that_hangs_is_killed_and_the_next_child_gets_another(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await start(supervisor, asyncio.Event())
    fork_server = parent_of(first.pid)
    os.kill(fork_server, signal.SIGSTOP)
    with monkeypatch.context() as impatient:
        impatient.setattr("engine.processes.supervisor._FORK_S", 0.1)
        with pytest.raises(EngineError, match="fork server hangs"):
            await start(supervisor, asyncio.Event())
    await until_dead(fork_server)
    second, _ = await start(supervisor, asyncio.Event())
    assert alive(first.pid) and parent_of(second.pid) != fork_server
    for child in (first, second):
        child.send(Stop())


async def test_a_fork_server_whose_death_nobody_has_noticed_yet_is_replaced_by_the_next_start(
    supervisor: Supervisor,
) -> None:
    first, _ = await start(supervisor, asyncio.Event())
    fork_server = parent_of(first.pid)
    os.kill(fork_server, signal.SIGKILL)
    while alive(fork_server):
        time.sleep(0.001)  # noqa: ASYNC251 - the loop shall have no turn
    second, _ = await start(supervisor, asyncio.Event())
    assert alive(first.pid) and parent_of(second.pid) != fork_server
    for child in (first, second):
        child.send(Stop())


async def test_a_fork_server_that_hangs_does_not_keep_the_supervisor_from_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervisor = Supervisor()
    child, _ = await start(supervisor, asyncio.Event())
    fork_server = parent_of(child.pid)
    os.kill(fork_server, signal.SIGSTOP)
    monkeypatch.setattr("engine.processes.supervisor._LEAVE_S", 0.1)
    await supervisor.close()
    assert not alive(fork_server)
    await until_dead(child.pid)


async def test_a_terminals_interrupt_and_a_managers_term_leave_the_children_to_the_control_process(
    supervisor: Supervisor,
) -> None:
    gone = asyncio.Event()
    child, _ = await start(supervisor, gone)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child.pid, number)
    await asyncio.sleep(0.2)
    assert alive(child.pid) and not gone.is_set()
    child.send(Stop())
    await asyncio.wait_for(gone.wait(), 30)


async def test_no_process_is_left_when_the_supervisor_closed() -> None:
    supervisor = Supervisor()
    child, _ = await start(supervisor, asyncio.Event())
    fork_server = parent_of(child.pid)
    child.send(Stop())
    await supervisor.close()
    assert not alive(child.pid)
    assert not alive(fork_server)


SECRET = "a secret of the operator"


@pytest.fixture
def secretive(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRUNK_PASSWORD", "ULTRAVOX_API_KEY", "AWS_SECRET_ACCESS_KEY", "TRUNKLINE_KEY"):
        monkeypatch.setenv(name, SECRET)


@pytest.mark.usefixtures("secretive")
async def test_no_process_that_reads_the_network_holds_a_secret_in_its_environment(
    supervisor: Supervisor,
) -> None:
    child, _ = await start(supervisor, asyncio.Event())
    for pid in (child.pid, parent_of(child.pid)):
        assert SECRET.encode() not in environment_of(pid)
    child.send(Stop())


@pytest.mark.usefixtures("secretive")
async def test_a_child_has_no_more_of_the_environment_than_it_needs_and_gains_no_privilege(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    gone, found = asyncio.Event(), tmp_path / "found"
    settings = EdgeSettings(link=str(found), bind="127.0.0.1", port=0, trunks=(), log=LogSettings())
    await supervisor.start_child(
        "tests.engine.processes.environment_probe", "probe", settings, on_event=lambda _: None, on_exit=gone.set
    )
    await asyncio.wait_for(gone.wait(), 30)
    seen = json.loads(found.read_text())
    assert SECRET not in seen["environment"].values()
    assert "PATH" in seen["environment"]
    assert (seen["no_new_privs"], seen["core"]) == ("1", [0, 0])


async def test_a_child_that_sends_what_is_no_message_is_killed(supervisor: Supervisor) -> None:
    gone = asyncio.Event()
    settings = EdgeSettings(link="", bind="127.0.0.1", port=0, trunks=(), log=LogSettings())
    child = await supervisor.start_child(
        "tests.engine.processes.rogue", "rogue", settings, on_event=lambda _: None, on_exit=gone.set
    )
    await asyncio.wait_for(gone.wait(), 30)
    await until_dead(child.pid)
