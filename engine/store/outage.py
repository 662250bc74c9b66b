"""The database failures that may pass by themselves: disk full, locked by another process, unreachable."""

from __future__ import annotations

from sqlalchemy.exc import InterfaceError, OperationalError

_SQLITE = frozenset(
    {5, 6, 8, 10, 13, 14}  # BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN: https://www.sqlite.org/rescode.html
)


def is_outage(error: BaseException | None) -> bool:
    """Whether the failure is an outage and not the statement's fault, so that the same work may succeed later."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    code: int | None = getattr(error.orig, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _SQLITE  # the low byte is the code, the rest its extended kind
