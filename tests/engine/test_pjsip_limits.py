"""What is said of the stock build, compared with the build, in its own process."""

from __future__ import annotations

import subprocess
import sys

from engine.pjsip_limits import LINES_PER_INSTANCE

_LINES = """
import os
from engine.messages.settings import StackSettings
from engine.pjsip.stack import SipStack

print(SipStack(StackSettings(bind="127.0.0.1"), link=print).lines, flush=True)
os._exit(0)
"""


def test_the_stock_build_holds_as_many_calls_as_are_reckoned_with() -> None:
    told = subprocess.run([sys.executable, "-c", _LINES], check=True, capture_output=True, timeout=30)
    assert int(told.stdout) == LINES_PER_INSTANCE
