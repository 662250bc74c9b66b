"""The edge's core: SIP between the far ends and our processes of PJSIPs, each of which sees what it handles well.

Towards the network it is one user agent, with its own Via and Contact and its own answers to challenges. Towards PJSIP
it is the only peer. It keeps what joins the two, dialogs and transactions; a process that goes away leaves its dialogs
here, and each is ended at its far end.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from engine.edge.common import Common, Unreached, Ways
from engine.edge.dialogs import Dialog, Flow, Parted, Remote
from engine.edge.farewells import Farewells
from engine.edge.incoming import Incoming
from engine.edge.outgoing import Outgoing, target_of
from engine.edge.responses import Responses
from engine.edge.strays import Strays
from engine.edge.transactions import ClientTransaction
from engine.messages.commands import TrunkAccount
from engine.messages.link import Link
from engine.sip.digest import Credentials, Session
from engine.sip.fields import Via
from engine.sip.message import Request, Response, read
from engine.sip.syntax import Malformed

log = logging.getLogger("trunkline.edge")

_MOST_COMPLAINTS: Final = 10
"""Log lines a second about messages that cannot be read."""


class Edge:
    """Everything on one event loop; nothing blocks, and no message of anybody raises out of here."""

    def __init__(self, trunks: Mapping[str, TrunkAccount], ways: Ways) -> None:
        self._common = Common(trunks, ways)
        self._outgoing = Outgoing(self._common)
        self._responses = Responses(self._common, self._outgoing)
        self._incoming = Incoming(self._common, self._responses)
        self._farewells = Farewells(self._common, self._outgoing)
        self._strays = Strays(self._common.dialogs.knows)
        self._unreadable = 0
        self._common.abandoned = lambda dialog, remote: self._common.spawn(self._farewells.hang_up(dialog, remote))

    @property
    def dialogs(self) -> int:
        """How many dialogs there are."""
        return len(self._common.dialogs)

    @property
    def flows(self) -> set[Flow]:
        """Those that dialogs use."""
        used = {remote.flow for dialog in self._common.dialogs for remote in dialog.remotes.values()}
        return used | {dialog.flow for dialog in self._common.dialogs if dialog.flow is not None}

    def from_link(self, link: Link, instance: int, data: bytes) -> None:
        """A message of one of our PJSIPs."""
        try:
            message = read(data)
            if isinstance(message, Request):
                self._outgoing.request(link, instance, message)
            else:
                self._incoming.response(message)
        except Exception:
            log.exception("a message of PJSIP could not be served")

    def received(self, flow: Flow, data: bytes) -> None:
        """A message of an admitted source."""
        if not self._strays.may_read(flow.peer[0], data):
            return
        try:
            message = read(data)
            if isinstance(message, Response):
                self._responses.response(flow, message, data)
            else:
                self._incoming.request(flow, message, data)
        except Malformed as error:
            if self._unreadable < _MOST_COMPLAINTS:
                log.info("a SIP message cannot be read: %s", error, extra={"peer": flow.peer[0]})
            self._unreadable += 1
            self._incoming.refuse(flow, data, error.status)
        except Exception:
            log.exception("a SIP message could not be served", extra={"peer": flow.peer[0]})

    def flow_lost(self, flow: Flow, error: Unreached) -> None:
        """A connection ended."""
        self._outgoing.flow_lost(flow, error)

    def link_closed(self, link: Link) -> None:
        """A process is gone: hang up what it left."""
        self._common.transactions.orphan(link)
        for dialog in self._common.dialogs.of(link):
            dialog.link = None
            self._common.spawn(self._farewells.end(dialog))

    def restore(self, link: Link, kept: Mapping[str, Any]) -> None:
        """A process gives back a dialog or registration that it kept when the last edge died. Its ways are opened when
        they are used."""
        trunk = self._common.trunks.get(kept["trunk"])
        if trunk is None or kept["peer"] is None:
            return
        transport, address, port = kept["peer"]
        flow = Parted(transport, (address, port))
        dialog = Dialog.restored(kept, trunk, link, flow, Session(Credentials(trunk.username, trunk.password)))
        for tag, target, routes, confirmed in kept["remotes"]:
            remote = Remote(tag, target, tuple(routes), flow, confirmed)
            dialog.remotes[remote.shown_tag] = remote
            self._common.spawn(self._find_way_again(dialog, remote))
        if kept["invite"] is not None:
            dialog.invite = invite = ClientTransaction.restored(kept["invite"], dialog, link)
            branch = Via.parse(invite.pjsip_via).branch or ""
            key = (id(link), invite.instance, branch, "INVITE")
            self._common.transactions.add_client(invite, self._common.now_s(), key)
        if not dialog.local_tag:
            self._common.registrations.restore(dialog)
        self._common.dialogs.add(dialog)

    async def _find_way_again(self, dialog: Dialog, remote: Remote) -> None:
        try:
            way = await self._common.ways.open(target_of(dialog, remote.flow), dialog.trunk)
        except Unreached as error:
            log.warning("the way of a dialog is closed: %s", error, extra={"trunk": dialog.trunk.name})
            return
        await self._responses.find_way(dialog, remote, way)

    def sweep(self) -> None:
        """Forget what is over; to be called each second."""
        self._strays.report()
        self._unreadable = 0
        for transaction in self._common.transactions.expire(self._common.now_s()):
            dialog, remote, method = transaction.dialog, transaction.remote, transaction.method
            if remote is not None:
                if method == "BYE":
                    self._common.hung_up(dialog, remote)
                continue
            answered = any(one.confirmed for one in dialog.remotes.values())
            if not answered and (method == "OPTIONS" or (method == "INVITE" and not transaction.final)):
                self._common.drop(dialog)

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done beside everything else; ``idle`` waits for it too."""
        self._common.spawn(work)

    async def idle(self, timeout_s: float) -> None:
        """Wait until the last words are said, for ``timeout_s`` at most."""
        await self._common.idle(timeout_s)
