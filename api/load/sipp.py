"""SIPp as trunk and callee: its scenario with our media port, its command, its trace and its complaints."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from api.load.child import LoadFailed, child, until
from api.load.ports import bound_udp_ports
from api.load.signalling import Signalling, read_trace

_START_S: Final = 10.0
_ENTRY: Final = re.compile(r"^\d{4}-\d\d-\d\d\s\S+\s[\d.]+: ", re.MULTILINE)
_ORDINARY: Final = ("Overload warning", "Unable to bind remote control socket")
"""SIPp's messages about itself, not about the other side."""


class Sipp:
    """A running SIPp. Its files are in ``folder``."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.pid = pid
        self._folder = folder

    def calls(self) -> Mapping[str, Signalling]:
        """SIPp's view of each call, by Call-ID."""
        trace = self._folder / "messages.log"
        return read_trace(trace.read_text(errors="replace")) if trace.exists() else {}

    def complaints(self) -> list[str]:
        """The messages that SIPp calls unexpected; the first words of each."""
        errors = self._folder / "errors.log"
        entries = _ENTRY.split(errors.read_text(errors="replace"))[1:] if errors.exists() else []
        return [entry.splitlines()[0] for entry in entries if entry.strip() and not entry.startswith(_ORDINARY)]


def require_sipp() -> None:
    """Raises ``LoadFailed`` when SIPp is missing."""
    if shutil.which("sipp") is None:
        raise LoadFailed("SIPp, the far end of a load, is not installed. On Debian: apt-get install sip-tester.")


@asynccontextmanager
async def sipp(
    scenario: Path, folder: Path, *, port: int, control: int, own_media: int, rtp: int
) -> AsyncIterator[Sipp]:
    """A SIPp that answers at ``port`` while the block runs; ``rtp`` replaces its own media port in the SDP.

    Raises ``LoadFailed`` when SIPp does not start.
    """
    _write_scenario(scenario, folder / "scenario.xml", rtp)
    command = ["sipp", "-sf", f"{folder}/scenario.xml", "-i", "127.0.0.1", "-bind_local", "-p", str(port)]
    command += ["-mi", "127.0.0.1", "-mp", str(own_media), "-ci", "127.0.0.1", "-cp", str(control), "-nostdin"]
    command += ["-trace_msg", "-message_file", f"{folder}/messages.log", "-message_overwrite", "true"]
    command += ["-trace_err", "-error_file", f"{folder}/errors.log", "-buff_size", "4194304"]
    async with child(command, folder, "sipp", far_end=True) as process:
        if not await until(lambda: process.returncode is not None or bool(bound_udp_ports([port])), _START_S):
            raise LoadFailed("SIPp did not start in time.")
        if process.returncode is not None:
            raise LoadFailed(f"SIPp did not start:\n{(folder / 'sipp.log').read_text(errors='replace')[-1500:]}")
        yield Sipp(folder, process.pid)


def _write_scenario(scenario: Path, to: Path, rtp: int) -> None:
    to.write_text(scenario.read_text(encoding="latin-1").replace("[media_port]", str(rtp)), encoding="latin-1")


def keeps_its_media(scenario: Path) -> bool:
    """Whether the scenario answers with its own port for audio. Then the audio is not measured."""
    text = scenario.read_text(encoding="latin-1")
    return "m=audio" in text and "[media_port]" not in text
