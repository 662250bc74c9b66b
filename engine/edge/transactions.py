"""The edge's transactions (RFC 3261 §17): each joins a PJSIP's to one on the wire, which may be sent more than once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from engine.edge.dialogs import Dialog, Flow, Remote
from engine.edge.targets import Target
from engine.messages.link import Link
from engine.sip.digest import Exchange
from engine.sip.message import Header, Request

T1_S: Final = 0.5
LIFE_S: Final = 64 * T1_S
"""How long a finished transaction is remembered, for what is retransmitted."""
INVITE_LIFE_S: Final = 240.0
"""How long an INVITE may ring: Timer C's three minutes (RFC 3261 §16.6) and a good deal."""


@dataclass(slots=True, eq=False)
class ClientTransaction:
    """A request of PJSIP's on its way to a far end, or one of the edge's own, which has no ``link``.

    A request that is sent again with credentials, or elsewhere, is the same to PJSIP and a new ``branch`` on the wire.
    """

    link: Link | None
    instance: int
    pjsip_via: str
    pjsip_cseq: int
    dialog: Dialog
    remote: Remote | None
    request: Request
    """As it is sent, but for Via, Contact and what answers a challenge."""
    branch: str
    hop: str = ""
    """The URI of the next hop."""
    cseq: int = 0
    target: Target | None = None
    """The address that has it."""
    targets: list[Target] = field(default_factory=list)
    """The addresses of the next hop that are left to try."""
    flow: Flow | None = None
    sent: bytes = b""
    status: int = 0
    """Of the last response."""
    cancelled: bool = False
    cancel: ClientTransaction | None = None
    """Waits for a provisional response (RFC 3261 §9.1)."""
    redirects: int = 0
    reconnected: bool = False
    """A connection ended before its response came, and it was sent on another."""
    exchange: Exchange = field(default_factory=Exchange)
    credentials: tuple[Header, ...] = ()
    """What answered a challenge, as it was sent."""
    expires_at_s: float = 0.0
    answered: asyncio.Event | None = None

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def final(self) -> bool:
        return self.status >= 200

    def dump(self) -> dict[str, Any]:
        """What the next edge needs to take its responses."""
        return {
            "via": self.pjsip_via,
            "number": self.pjsip_cseq,
            "cseq": self.cseq,
            "branch": self.branch,
            "uri": self.request.uri,
            "routes": list(self.request.all("Route")),
            "status": self.status,
            "cancelled": self.cancelled,
        }

    @classmethod
    def restored(cls, kept: Mapping[str, Any], dialog: Dialog, link: Link) -> ClientTransaction:
        """The INVITE of a dialog that was dumped; it may be acknowledged, cancelled and answered."""
        headers = (
            Header("Max-Forwards", "70"),
            Header("From", dialog.from_),
            Header("To", dialog.to),
            Header("Call-ID", dialog.call_id),
            Header("CSeq", f"{kept['cseq']} INVITE"),
            *(Header("Route", route) for route in kept["routes"]),
        )
        return cls(
            link=link,
            instance=dialog.instance,
            pjsip_via=kept["via"],
            pjsip_cseq=kept["number"],
            dialog=dialog,
            remote=None,
            request=Request("INVITE", kept["uri"], headers=headers),
            branch=kept["branch"],
            cseq=kept["cseq"],
            flow=dialog.flow,
            status=kept["status"],
            cancelled=kept["cancelled"],
        )


@dataclass(slots=True, eq=False)
class ServerTransaction:
    """A far end's request inside a dialog, on its way to PJSIP, and the answer on its way back."""

    flow: Flow
    request: Request
    dialog: Dialog
    remote: Remote
    expires_at_s: float
    sent: bytes = b""


PjsipKey = tuple[int, int, str, str]
"""A link's identity, the PJSIP's place in its process, its branch and the method."""


class Transactions:
    """All of them, until they expire."""

    def __init__(self) -> None:
        self._client: dict[tuple[str, str], ClientTransaction] = {}
        self._of_pjsip: dict[PjsipKey, ClientTransaction] = {}
        self._server: dict[tuple[str, str], ServerTransaction] = {}
        self._acks: dict[str, tuple[Flow, bytes, float]] = {}

    def client(self, branch: str, method: str) -> ClientTransaction | None:
        """By what the wire shows; None for a branch that was given up for another."""
        found = self._client.get((branch, method))
        return found if found is not None and found.branch == branch else None

    def of_pjsip(self, key: PjsipKey) -> ClientTransaction | None:
        return self._of_pjsip.get(key)

    def server(self, branch: str, method: str) -> ServerTransaction | None:
        return self._server.get((branch, method))

    def unanswered_on(self, flow: Flow) -> list[ClientTransaction]:
        """What was sent on a flow and had no response yet."""
        return [one for one in self._client.values() if one.flow is flow and not one.status]

    def add_client(self, transaction: ClientTransaction, now_s: float, key: PjsipKey | None = None) -> None:
        transaction.expires_at_s = now_s + (INVITE_LIFE_S if transaction.method == "INVITE" else 2 * LIFE_S)
        self._client[transaction.branch, transaction.method] = transaction
        if key is not None:
            self._of_pjsip[key] = transaction

    def add_server(self, branch: str, transaction: ServerTransaction) -> None:
        self._server[branch, transaction.request.method] = transaction

    def add_ack(self, branch: str, flow: Flow, ack: bytes, now_s: float) -> None:
        """Remember the ACK of a refusal, for when that is repeated."""
        self._acks[branch] = (flow, ack, now_s + LIFE_S)

    def repeat_ack(self, branch: str) -> bool:
        """Send the ACK of a refusal again; False when there was none."""
        if (known := self._acks.get(branch)) is None:
            return False
        known[0].send(known[1])
        return True

    def orphan(self, link: Link) -> None:
        """The link is gone: nobody waits for its answers."""
        for key in [key for key, one in self._of_pjsip.items() if one.link is link]:
            self._of_pjsip.pop(key).link = None

    def expire(self, now_s: float) -> Iterator[ClientTransaction]:
        """Forget what is over; yields the client transactions that go."""
        gone = {id(one): one for one in self._client.values() if one.expires_at_s < now_s}
        self._client = {key: one for key, one in self._client.items() if id(one) not in gone}
        self._of_pjsip = {key: one for key, one in self._of_pjsip.items() if id(one) not in gone}
        self._server = {key: one for key, one in self._server.items() if one.expires_at_s >= now_s}
        self._acks = {branch: one for branch, one in self._acks.items() if one[2] >= now_s}
        yield from gone.values()
