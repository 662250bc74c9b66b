"""The last words for calls that no process carries any more: CANCEL for what rings, BYE for what is answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import Final

from engine.edge.clean import written
from engine.edge.common import Common, Unreached
from engine.edge.dialogs import Dialog, Flow, Remote
from engine.edge.outgoing import Outgoing, target_of
from engine.edge.rewriting import new_branch, routed, via_of, with_tag
from engine.edge.transactions import T1_S, ClientTransaction
from engine.sip.message import Header, Request

log = logging.getLogger("trunkline.edge")

_LASTS_S: Final = 8.0
_T2_S: Final = 4.0


class Farewells:
    """Ends dialogs whose process is gone. Each takes a few seconds at most."""

    def __init__(self, common: Common, outgoing: Outgoing) -> None:
        self._common = common
        self._outgoing = outgoing

    async def end(self, dialog: Dialog) -> None:
        """Hang up at the far end."""
        ends_at_s = self._common.now_s() + _LASTS_S
        invite = dialog.invite
        if invite is not None and not invite.final:
            await self._cancel(invite, ends_at_s)
        answered = [remote for remote in dialog.remotes.values() if remote.confirmed and not remote.ended]
        if answered:
            log.warning("a call that its process left behind is hung up", extra={"sipCallId": dialog.call_id})
            await asyncio.gather(*(self._bye(dialog, remote, ends_at_s) for remote in answered))
        self._common.dialogs.drop(dialog)

    async def hang_up(self, dialog: Dialog, remote: Remote) -> None:
        """End one far end that answered, and whose call nobody takes."""
        if remote.ended:
            return
        log.warning("a far end answered a call that is over; it is hung up", extra={"sipCallId": dialog.call_id})
        await self._bye(dialog, remote, self._common.now_s() + _LASTS_S)

    async def _cancel(self, invite: ClientTransaction, ends_at_s: float) -> None:
        invite.cancelled = True
        await self._heard(invite, 100, ends_at_s)  # RFC 3261 §9.1
        if invite.final or not invite.status or invite.flow is None:
            return
        cancel = self._outgoing.cancel_for(invite)
        await self._insist(cancel, ends_at_s, invite.flow)
        await self._heard(invite, 200, ends_at_s)

    async def _bye(self, dialog: Dialog, remote: Remote, ends_at_s: float) -> None:
        remote.ended = True
        if not remote.flow.is_open:
            try:
                remote.flow = await self._common.ways.open(target_of(dialog, remote.flow), dialog.trunk)
            except Unreached as error:
                log.warning("a call cannot be hung up: %s", error, extra={"sipCallId": dialog.call_id})
                return
        if dialog.sent_as:  # the process may have died before its ACK
            ack = self._request(dialog, remote, "ACK", max(dialog.sent_as.values()))
            fields = (Header("Via", via_of(remote.flow, new_branch())), *ack.headers)
            self._common.send(dialog, remote.flow, written(replace(ack, headers=fields)))
        dialog.last_cseq += 1
        bye = ClientTransaction(
            link=None,
            instance=0,
            pjsip_via="",
            pjsip_cseq=dialog.last_cseq - dialog.cseq_shift,
            dialog=dialog,
            remote=remote,
            request=self._request(dialog, remote, "BYE", dialog.last_cseq),
            branch=new_branch(),
            cseq=dialog.last_cseq,
        )
        await self._insist(bye, ends_at_s, remote.flow)

    async def _insist(self, transaction: ClientTransaction, ends_at_s: float, flow: Flow) -> None:
        """Send until it is answered (RFC 3261 §17.1.2.2)."""
        transaction.answered = asyncio.Event()
        self._common.transactions.add_client(transaction, self._common.now_s())
        self._outgoing.transmit(transaction, flow)
        pause_s = T1_S
        while self._common.now_s() < ends_at_s:
            try:
                await asyncio.wait_for(transaction.answered.wait(), pause_s)
                return
            except TimeoutError:
                if transaction.flow is not None and transaction.flow.transport == "udp":
                    self._common.send(transaction.dialog, transaction.flow, transaction.sent)
                pause_s = min(2 * pause_s, _T2_S)

    async def _heard(self, invite: ClientTransaction, status: int, ends_at_s: float) -> None:
        """Wait until the INVITE has had a response of that status or a higher one."""
        while invite.status < status and self._common.now_s() < ends_at_s:
            invite.answered = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(invite.answered.wait(), max(0.0, ends_at_s - self._common.now_s()))

    def _request(self, dialog: Dialog, remote: Remote, method: str, cseq: int) -> Request:
        uri, routes, _ = routed(remote)
        fields = (
            Header("Max-Forwards", "70"),
            Header("From", dialog.from_),
            Header("To", with_tag(dialog.to, remote.tag)),
            Header("Call-ID", dialog.call_id),
            Header("CSeq", f"{cseq} {method}"),
            *(Header("Route", route) for route in routes),
        )
        return Request(method, uri, headers=fields)
