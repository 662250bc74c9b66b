"""What a log line shows, and what it must not."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from engine.log import LogSettings, mask_numbers, set_up_logging


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    logger = logging.getLogger("trunkline")
    before = logger.handlers[:], logger.level, logger.propagate
    stream = io.StringIO()
    set_up_logging(LogSettings(json=True), stream)
    yield stream
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("+14155551234", "+141******34"),
        ("sip:+14155551234@carrier.example", "sip:+141******34@carrier.example"),
        ("from +4930123456 to +4930654321", "from +493*****56 to +493*****21"),
        ("port 5060", "port 5060"),
    ],
)
def test_the_middle_of_a_phone_number_is_hidden(text: str, masked: str) -> None:
    assert mask_numbers(text) == masked


def test_numbers_are_masked_in_the_sentence_its_arguments_its_fields_and_its_traceback(written: io.StringIO) -> None:
    log = logging.getLogger("trunkline.call")
    try:
        raise ValueError("bad +14155551234")
    except ValueError:
        log.exception("dialling %s failed", "+14155551234", extra={"to": "+14155551234"})
    line = written.getvalue()
    assert "14155551234" not in line
    assert json.loads(line)["event"] == "dialling +141******34 failed"


@pytest.mark.parametrize("as_json", [True, False])
def test_text_of_others_never_begins_a_line_or_steers_the_terminal(written: io.StringIO, as_json: bool) -> None:
    set_up_logging(LogSettings(json=as_json), written)
    forged = "Busy\r\n2026-01-01 [info] all is well\x1b[2J\u2028x"
    logging.getLogger("trunkline.call").info("the far end said %s", forged, extra={"reason": forged})
    assert len(written.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in written.getvalue()


def test_the_fields_of_a_line_are_members_of_its_json(written: io.StringIO) -> None:
    logging.getLogger("trunkline.call").info("call ringing", extra={"call": "6f0c", "sipCode": 180})
    line = json.loads(written.getvalue())
    assert (line["event"], line["call"], line["sipCode"], line["level"]) == ("call ringing", "6f0c", 180, "info")
