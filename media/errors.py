"""The errors of a call's audio and its agent, split by what the reader does next.

    MediaError
    ├── FormatError           PCM at an impossible rate or of an impossible size: our fault
    └── AgentError            the agent service did not give us a session
        ├── AgentRefused      asking again gives the same answer: change a setting or the request
        ├── AgentBusy         ask again after ``retry_after_s``
        └── AgentUnreachable  no answer, or a senseless one: network, address or the service itself

Every error's ``str()`` is a sentence that says what happened and what to do; none carries a key or a join URL.
"""

from __future__ import annotations


class MediaError(Exception):
    """Base of everything ``media`` raises on purpose."""


class FormatError(MediaError, ValueError):
    """PCM cannot have this rate or size."""


class AgentError(MediaError):
    """The agent service did not give us a session."""


class AgentRefused(AgentError):
    """The service refused, with HTTP ``status``; the same request gives the same answer."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class AgentBusy(AgentError):
    """The service is at a limit (HTTP ``status`` 429 or 503); ``retry_after_s`` is its Retry-After, if it sent one."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class AgentUnreachable(AgentError):
    """Nothing answered in time, the connection failed, or the data was not a valid answer."""
