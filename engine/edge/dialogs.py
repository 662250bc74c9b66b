"""The dialogs of our processes (RFC 3261 §12): what the far ends said of themselves, which PJSIP never sees."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.edge.clean import safe_tag
from engine.messages.commands import TrunkAccount
from engine.messages.link import Link
from engine.sip.digest import Session
from engine.sip.message import Header


class Flow(Protocol):
    """A way to one peer: our UDP socket with its address, or a connection."""

    @property
    def transport(self) -> str:
        """``udp``, ``tcp`` or ``tls``."""
        ...

    @property
    def peer(self) -> tuple[str, int]: ...

    @property
    def local(self) -> tuple[str, int]:
        """What Via and Contact say: an address that the peer can answer to."""
        ...

    @property
    def is_open(self) -> bool: ...

    def send(self, data: bytes) -> None:
        """Send one message; never blocks. On a flow that is closed nothing happens."""
        ...


@dataclass(slots=True, eq=False)
class Remote:
    """One far end of a dialog: a fork each (RFC 3261 §12.1.2). ``flow`` leads to its next hop."""

    tag: str
    target: str
    routes: tuple[str, ...]
    flow: Flow
    confirmed: bool = False
    detour: str = ""
    """A Route entry to the trunk, where the remote's own next hop cannot be used."""
    waiting: list[Callable[[], None]] | None = None
    """While the way to its next hop is looked for: what it sent meanwhile, to be served in that order."""

    @property
    def shown_tag(self) -> str:
        """The tag that PJSIP knows."""
        return safe_tag(self.tag)


@dataclass(slots=True, eq=False)
class Dialog:
    """A call's SIP leg, from its INVITE to its end; also a registration or a probe, which have no remote."""

    call_id: str
    local_tag: str
    trunk: TrunkAccount
    link: Link | None
    instance: int
    auth: Session
    from_: str = ""
    to: str = ""
    contact_user: str = ""
    pjsip_contact: str = ""
    flow: Flow | None = None
    """It took the first request."""
    cseq_shift: int = 0
    """How far our CSeq on the wire is ahead of PJSIP's: one for each request that the edge sent again by itself."""
    last_cseq: int = 0
    sent_as: dict[int, int] = field(default_factory=dict)
    """The INVITEs' CSeq on the wire by PJSIP's, for their ACK and PRACK."""
    remotes: dict[str, Remote] = field(default_factory=dict)
    """By the tag that PJSIP knows."""
    invite_credentials: tuple[Header, ...] = ()
    """For the ACK of the 2xx (RFC 3261 §22.1)."""
    ended: bool = False
    asked_expires_s: int = 0
    """Of a REGISTER: how long it asked to be bound."""

    @property
    def key(self) -> tuple[str, str]:
        return self.call_id, self.local_tag

    def next_cseq(self, pjsip_cseq: int) -> int:
        """The number on the wire for PJSIP's."""
        self.last_cseq = max(self.last_cseq, pjsip_cseq + self.cseq_shift)
        return pjsip_cseq + self.cseq_shift

    def remote_of(self, tag: str) -> Remote | None:
        """By the far end's own tag."""
        return self.remotes.get(safe_tag(tag))

    def dump(self) -> bytes:
        """What the next edge needs to go on with it."""
        remotes = [[one.tag, one.target, list(one.routes), one.confirmed] for one in self.remotes.values()]
        peer = [self.flow.transport, *self.flow.peer] if self.flow is not None else None
        return json.dumps(
            {
                "call_id": self.call_id,
                "local_tag": self.local_tag,
                "trunk": self.trunk.name,
                "instance": self.instance,
                "from": self.from_,
                "to": self.to,
                "contact_user": self.contact_user,
                "pjsip_contact": self.pjsip_contact,
                "cseq_shift": self.cseq_shift,
                "last_cseq": self.last_cseq,
                "sent_as": list(self.sent_as.items()),
                "remotes": remotes,
                "peer": peer,
            }
        ).encode()

    @classmethod
    def restored(cls, kept: Mapping[str, Any], trunk: TrunkAccount, link: Link, flow: Flow, auth: Session) -> Dialog:
        """A dialog that was dumped, on a flow to where its first request went; its remotes are still to be added."""
        return cls(
            call_id=kept["call_id"],
            local_tag=kept["local_tag"],
            trunk=trunk,
            link=link,
            instance=kept["instance"],
            auth=auth,
            from_=kept["from"],
            to=kept["to"],
            contact_user=kept["contact_user"],
            pjsip_contact=kept["pjsip_contact"],
            flow=flow,
            cseq_shift=kept["cseq_shift"],
            last_cseq=kept["last_cseq"],
            sent_as={int(pjsip): wire for pjsip, wire in kept["sent_as"]},
        )


class Dialogs:
    """All of them by Call-ID and our tag."""

    def __init__(self) -> None:
        self._dialogs: dict[tuple[str, str], Dialog] = {}

    def add(self, dialog: Dialog) -> None:
        self._dialogs[dialog.key] = dialog

    def get(self, call_id: str, local_tag: str) -> Dialog | None:
        return self._dialogs.get((call_id, local_tag))

    def drop(self, dialog: Dialog) -> None:
        self._dialogs.pop(dialog.key, None)

    def of(self, link: Link) -> list[Dialog]:
        """Those of one process."""
        return [dialog for dialog in self._dialogs.values() if dialog.link is link]

    def __iter__(self) -> Iterator[Dialog]:
        return iter(list(self._dialogs.values()))

    def __len__(self) -> int:
        return len(self._dialogs)
