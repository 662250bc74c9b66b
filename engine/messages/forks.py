"""What the control process and the fork server say to each other, a datagram each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """Fork a child that calls ``main(end, settings)`` of ``module``.

    ``end`` is the descriptor sent along; ``settings`` the first value that comes over it.
    """

    token: int
    module: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """The child asked for by ``token`` runs as ``pid``."""

    token: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """A child is gone. ``status`` as of ``os.waitstatus_to_exitcode``: negative for a signal."""

    pid: int
    status: int
