"""What one process of the stock PJSIP build holds, for those that cannot ask the build itself."""

from __future__ import annotations

from typing import Final

LINES_PER_WORKER: Final = 4
"""Calls: reckoned with until the first worker has told of its own."""
MAX_ACCOUNTS: Final = 8
"""Trunks: PJSUA_MAX_ACC of every build that does not say otherwise. PJSIP aborts the process at one more."""
