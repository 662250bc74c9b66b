"""The SIPp matrix: what `sip-test-configs/README.md` promises of each far end, and the rows of `make sip-test`."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONFIGS: Final = Path(__file__).parents[2] / "sip-test-configs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One far end: the RFC sections it plays, and the tests that run Trunkline against it."""

    section: str
    tests: tuple[str, ...]


@functools.cache
def rows() -> dict[str, Row]:
    """The table of the README, by scenario."""
    text = (CONFIGS / "README.md").read_text()
    return {
        scenario: Row(section=section, tests=tuple(re.findall(r"test_\w+\.py", tests)))
        for cell, section, tests in re.findall(r"^\| (`.*?`) \| (.*?) \| .* \| (.*?) \|$", text, re.MULTILINE)
        for scenario in re.findall(r"`([^`]+)`", cell)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One far end in one test: the statuses that passed in its trace, either way, in the order they came first."""

    far_end: str
    statuses: tuple[int, ...] = ()


runs: Final[list[Run]] = []
"""Of the test that runs now, in this process; ``conftest`` hands them to the report."""
