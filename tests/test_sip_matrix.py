"""The table of far ends keeps step with the scenarios and the tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sip.matrix import CONFIGS, rows

SIP_TESTS = Path(__file__).parent / "sip"


def test_every_far_end_has_a_row_with_its_section_and_every_row_a_far_end() -> None:
    assert set(rows()) == {path.stem for path in (CONFIGS / "sipp").glob("*.xml") if path.stem[:3] != "uac"}
    assert [row for row in rows().values() if not re.match(r"\d{4}\b", row.section)] == []


def test_every_test_that_the_table_names_exists() -> None:
    named = {test for row in rows().values() for test in row.tests}
    assert [test for test in named if not (SIP_TESTS / test).is_file()] == []
