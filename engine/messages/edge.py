"""What the edge is told at its birth, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass

from engine.log import LogSettings
from engine.messages.commands import TrunkAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """Where the edge listens and whom it serves.

    ``link``: the path of the UNIX socket at which processes of PJSIPs attach. ``allow_from``: networks in CIDR that may
    send SIP beside the trunks' own addresses. ``public_address`` is written in Via and Contact behind NAT.
    """

    link: str
    bind: str
    port: int
    trunks: tuple[TrunkAccount, ...]
    log: LogSettings
    public_address: str = ""
    dscp: int = 0
    allow_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeReady:
    """The edge listens on ``port``."""

    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFailed:
    """The edge cannot listen; ``why`` is a sentence that names the setting."""

    why: str
