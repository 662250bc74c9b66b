"""What one instance of the stock PJSIP build holds, for those that cannot ask the build itself."""

from __future__ import annotations

from typing import Final

LINES_PER_INSTANCE: Final = 4
"""Calls: PJSUA_MAX_CALLS of the stock build."""
MAX_ACCOUNTS: Final = 8
"""Trunks: PJSUA_MAX_ACC of every build that does not say otherwise. PJSIP aborts the process at one more."""
