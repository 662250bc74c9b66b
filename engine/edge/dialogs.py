"""The dialogs of our processes (RFC 3261 §12): what the far ends said of themselves, which PJSIP never sees."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from engine.edge.clean import safe_tag
from engine.messages.commands import TrunkAccount
from engine.messages.link import Link
from engine.sip.digest import Session
from engine.sip.message import Header

if TYPE_CHECKING:
    from engine.edge.transactions import ClientTransaction

Work = Callable[[], Coroutine[Any, Any, None] | None]

_MOST_INVITES: Final = 16
_LONGEST_DUMP: Final = 60_000


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

    def to_port(self, port: int) -> Flow:
        """Over UDP the flow to another port of the peer; otherwise this one."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Parted:
    """Where a flow led before the edge was started again; what is sent next opens one."""

    transport: str
    peer: tuple[str, int]
    local: tuple[str, int] = ("127.0.0.1", 5060)
    is_open: bool = False

    def send(self, data: bytes) -> None:
        """Nothing is open."""

    def to_port(self, port: int) -> Flow:
        return self


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
    acknowledged: bool = False
    """PJSIP has sent its ACK."""
    ended: bool = False
    """A BYE was accepted, by either side."""

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
    service_routes: tuple[str, ...] = ()
    """Of a registration (RFC 3608)."""
    invite: ClientTransaction | None = None
    """The INVITE that begins it."""
    busy: bool = False
    waiting: deque[Work] = field(default_factory=deque)
    """What came while something before it was still being done."""

    @property
    def key(self) -> tuple[str, str]:
        return self.call_id, self.local_tag

    def next_cseq(self, pjsip_cseq: int) -> int:
        """The number on the wire for PJSIP's."""
        self.last_cseq = max(self.last_cseq, pjsip_cseq + self.cseq_shift)
        return pjsip_cseq + self.cseq_shift

    def invited(self, pjsip_cseq: int, cseq: int) -> None:
        """Note an INVITE's number on the wire."""
        self.sent_as[pjsip_cseq] = cseq
        if len(self.sent_as) > _MOST_INVITES:
            del self.sent_as[min(self.sent_as)]

    @property
    def over(self) -> bool:
        """Whether each far end that answered has been hung up."""
        return all(remote.ended or not remote.confirmed for remote in self.remotes.values())

    def remote_of(self, tag: str) -> Remote | None:
        """By the far end's own tag."""
        return self.remotes.get(safe_tag(tag))

    def dump(self) -> bytes:
        """What the next edge needs to go on with it. Far ends that only ring are left out where all are too long."""
        every = self._dump(list(self.remotes.values()))
        if len(every) <= _LONGEST_DUMP:
            return every
        return self._dump([remote for remote in self.remotes.values() if remote.confirmed])

    def _dump(self, remotes: list[Remote]) -> bytes:
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
                "remotes": [[one.tag, one.target, list(one.routes), one.confirmed] for one in remotes if not one.ended],
                "peer": [self.flow.transport, *self.flow.peer] if self.flow is not None else None,
                "service_routes": list(self.service_routes),
                "invite": self.invite.dump() if self.invite is not None and not self.invite.final else None,
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
            service_routes=tuple(kept["service_routes"]),
            sent_as={int(pjsip): wire for pjsip, wire in kept["sent_as"]},
        )


class Dialogs:
    """All of them by Call-ID and our tag."""

    def __init__(self) -> None:
        self._dialogs: dict[tuple[str, str], Dialog] = {}
        self._call_ids: Counter[str] = Counter()

    def add(self, dialog: Dialog) -> None:
        if dialog.key not in self._dialogs:
            self._call_ids[dialog.call_id] += 1
        self._dialogs[dialog.key] = dialog

    def knows(self, call_id: str) -> bool:
        """Whether a dialog has that Call-ID."""
        return call_id in self._call_ids

    def get(self, call_id: str, local_tag: str) -> Dialog | None:
        return self._dialogs.get((call_id, local_tag))

    def drop(self, dialog: Dialog) -> None:
        if self._dialogs.get(dialog.key) is not dialog:
            return  # it is gone already, or another attempt of the edge's has taken its place
        del self._dialogs[dialog.key]
        self._call_ids[dialog.call_id] -= 1
        if not self._call_ids[dialog.call_id]:
            del self._call_ids[dialog.call_id]

    def of(self, link: Link) -> list[Dialog]:
        """Those of one process."""
        return [dialog for dialog in self._dialogs.values() if dialog.link is link]

    def __iter__(self) -> Iterator[Dialog]:
        return iter(list(self._dialogs.values()))

    def __len__(self) -> int:
        return len(self._dialogs)
