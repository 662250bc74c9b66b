"""The short form of `make chaos`: eight calls, every break."""

from __future__ import annotations

import pytest

from tests.sip.tools.chaos import BREAKS, chaos


@pytest.mark.sip
@pytest.mark.alone
async def test_whatever_breaks_under_live_calls_nothing_that_was_accepted_is_lost(
    capfd: pytest.CaptureFixture[str],
) -> None:
    lines = [line async for line in chaos(calls=8)]
    with capfd.disabled():
        print("", *lines, sep="\n")
    assert len(lines) == len(BREAKS) + 1
