"""The table of far ends keeps step with the scenarios and the tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sip.matrix import CONFIGS, rows

SIP_TESTS = Path(__file__).parent / "sip"


def test_every_far_end_has_one_row_with_its_section_and_every_row_a_far_end() -> None:
    table = re.findall(r"^\| (`.*?`) \|", (CONFIGS / "README.md").read_text(), re.MULTILINE)
    named = [scenario for cell in table for scenario in re.findall(r"`([^`]+)`", cell)]
    assert sorted(named) == sorted(path.stem for path in (CONFIGS / "sipp").glob("*.xml") if path.stem[:3] != "uac")
    assert all(re.match(r"\d{4}\b", row.section) for row in rows().values())


def test_every_test_that_the_table_names_exists() -> None:
    named = {test for row in rows().values() for test in row.tests}
    assert [test for test in named if not (SIP_TESTS / test).is_file()] == []
