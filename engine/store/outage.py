"""Which failures are the database's own and may pass: disk full, locked by somebody, not to be reached."""

from __future__ import annotations

from sqlalchemy.exc import InterfaceError, OperationalError

_SQLITE = frozenset(
    {5, 6, 8, 10, 13, 14}  # BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN: https://www.sqlite.org/rescode.html
)


def is_outage(error: BaseException | None) -> bool:
    """Whether the statement that failed is not to blame, so that the same work may succeed later."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    code: int | None = getattr(error.orig, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _SQLITE  # the low byte is the code, the rest says which kind
