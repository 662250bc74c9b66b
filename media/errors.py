"""What can go wrong with a call's audio or its agent, split by what the reader does next.

    MediaError
    ├── FormatError           PCM was asked for at a rate, or handed over in a shape, that there is none of: our fault
    └── AgentError            the agent service did not give us a session
        ├── AgentRefused      asking again gives the same answer: change a setting or the request
        ├── AgentBusy         ask again after ``retry_after_s``
        └── AgentUnreachable  no answer, or none that makes sense: network, address or the service itself

Every error's ``str()`` is a sentence that says what happened and what to do; none carries a key or a join URL.
"""

from __future__ import annotations


class MediaError(Exception):
    """Base of everything ``media`` raises on purpose."""


class FormatError(MediaError, ValueError):
    """There is no such PCM."""


class AgentError(MediaError):
    """The agent service did not give us a session."""


class AgentRefused(AgentError):
    """The service said no, with HTTP ``status``; asking again as before gives the same answer."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class AgentBusy(AgentError):
    """The service is at a limit (HTTP ``status`` 429 or 503); ``retry_after_s`` is what it asked for, if anything."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class AgentUnreachable(AgentError):
    """Nothing answered in time, the connection failed, or what came was not an answer."""
