"""The limits of one instance of the stock PJSIP build, for modules that cannot ask the build itself."""

from __future__ import annotations

from typing import Final

LINES_PER_INSTANCE: Final = 4
"""Calls: PJSUA_MAX_CALLS of the stock build."""
MAX_ACCOUNTS: Final = 8
"""Trunks: the default PJSUA_MAX_ACC of a build. PJSIP aborts the process at one more."""
