"""What our processes ask of far ends: PJSIP's requests on the wire, each sent to the first address that takes it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from dataclasses import replace
from typing import Final, cast

from engine.edge import clean
from engine.edge.answers import REASONS
from engine.edge.clean import written
from engine.edge.common import Common, Unreached
from engine.edge.dialogs import Dialog, Flow, Remote
from engine.edge.rewriting import (
    cancel_of,
    capable,
    loose,
    mapped_rack,
    new_branch,
    routed,
    tag_of,
    uri_of,
    via_of,
    with_tag,
)
from engine.edge.targets import Target, Transport
from engine.edge.transactions import LIFE_S, ClientTransaction, PjsipKey
from engine.messages.link import FAILURE, TRUNK, Link
from engine.sip.digest import Credentials, Exchange, Session
from engine.sip.fields import CSeq, NameAddr, Via, expires
from engine.sip.message import Header, Request, Response
from engine.sip.uri import RemoteUri

log = logging.getLogger("trunkline.edge")

_SILENT_S: Final = 4.0
"""How long an address may say nothing to a request before the next one is tried."""
_CANCELED: Final = Unreached("canceled", "The call was cancelled before its INVITE could be sent.")
_NEW_CONTACT: Final = ("INVITE", "UPDATE", "REGISTER", "OPTIONS")


class Outgoing:
    """The client side. ``common`` is shared with the other side."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._transactions = common.transactions
        self._loop = asyncio.get_running_loop()

    # -- requests of PJSIP ---------------------------------------------------------------------------------------------

    def request(self, link: Link, instance: int, request: Request) -> None:
        """A request of a PJSIP."""
        via, cseq = Via.parse(request.first("Via") or ""), CSeq.parse(request.first("CSeq") or "")
        branch = via.branch or ""
        key = (id(link), instance, branch, request.method)
        invite = self._transactions.of_pjsip((id(link), instance, branch, "INVITE"))
        if request.method == "ACK" and invite is not None:
            return  # of a refusal, which is acknowledged already
        if (known := self._transactions.of_pjsip(key)) is not None:
            self._repeat(known, request)
            return
        if request.method == "CANCEL":
            if invite is not None and not invite.final:
                self._cancel(invite, key, request)
            else:
                self.answer(link, instance, request, 481 if invite is None else 200)
            return
        dialog = self._dialog_of(link, instance, request)
        tag = tag_of(request.first("To"))
        remote = dialog.remotes.get(tag) if dialog is not None and tag else None
        if dialog is None or (tag and remote is None):
            log.warning("a %s of PJSIP belongs to no dialog", request.method)
            if request.method != "ACK":
                self.answer(link, instance, request, 481)
            return
        if request.method == "ACK":
            if remote is not None:
                self._acknowledge(dialog, remote, request, cseq.number, branch)
            return
        transaction = ClientTransaction(
            link=link,
            instance=instance,
            pjsip_via=request.first("Via") or "",
            pjsip_cseq=cseq.number,
            dialog=dialog,
            remote=remote,
            request=request,
            branch=branch,
        )
        self._begin(transaction, key)

    def _dialog_of(self, link: Link, instance: int, request: Request) -> Dialog | None:
        """The dialog of a request of PJSIP's; a new one for a first request, which names its trunk.

        A registration is one "dialog" as long as its Call-ID stays: its CSeq goes on, though its tags change.
        """
        from_ = request.first("From") or ""
        registers = request.method == "REGISTER"
        call_id, tag = request.first("Call-ID") or "", "" if registers else tag_of(from_)
        dialog = self._common.dialogs.get(call_id, tag)
        name = request.first(TRUNK)
        if dialog is None and name is not None:
            trunk = self._common.trunks.get(name)
            if trunk is None:
                log.error("PJSIP names a trunk that the edge does not know", extra={"trunk": name})
                return None
            contact = NameAddr.parse(request.first("Contact") or clean.EDGE)
            dialog = Dialog(
                call_id=call_id,
                local_tag=tag,
                trunk=trunk,
                link=link,
                instance=instance,
                auth=Session(Credentials(trunk.username, trunk.password)),
                contact_user=contact.uri.partition(":")[2].rpartition("@")[0],
                pjsip_contact=contact.uri,
            )
            if registers:
                self._registered_before(dialog)
            self._common.dialogs.add(dialog)
        if dialog is not None and (registers or not dialog.from_):
            dialog.from_, dialog.to = from_, request.first("To") or ""
            asked_s = expires(request.first("Expires") or "")
            dialog.asked_expires_s = asked_s if asked_s is not None else 0
        return dialog

    def _registered_before(self, dialog: Dialog) -> None:
        """A registration with a new Call-ID takes the place of the trunk's former one."""
        for former in self._common.dialogs:
            if not former.local_tag and former.link is dialog.link and former.trunk.name == dialog.trunk.name:
                self._common.drop(former)

    def _begin(self, transaction: ClientTransaction, key: PjsipKey) -> None:
        dialog, remote = transaction.dialog, transaction.remote
        transaction.cseq = dialog.next_cseq(transaction.pjsip_cseq)
        if transaction.method == "INVITE":
            dialog.invited(transaction.pjsip_cseq, transaction.cseq)
            dialog.invite = dialog.invite or transaction
        transaction.request, transaction.hop = self._addressed(transaction.request, dialog, remote, transaction.cseq)
        self._transactions.add_client(transaction, self._common.now_s(), key)
        if remote is not None and remote.flow.is_open:
            self.transmit(transaction, remote.flow)
        else:
            self._common.spawn(self._lead(transaction))
        if remote is not None:
            self._common.keep(dialog)

    def _addressed(self, request: Request, dialog: Dialog, remote: Remote | None, cseq: int) -> tuple[Request, str]:
        """The request as the far end is to have it, but for Via and Contact; and its next hop."""
        if remote is not None:
            uri, routes, hop = routed(remote)
        else:
            trunk = dialog.trunk
            routes = tuple(loose(proxy) for proxy in trunk.outbound_proxy)
            if request.method == "INVITE":
                routes += self._common.registrations.service_routes(trunk.name)
            uri, hop = request.uri, uri_of(routes[0]) if routes else request.uri
        fields: list[Header] = []
        for header in clean.without_private(request.headers):
            match header.name:
                case "Via" | "Route" | "Contact" | "Content-Length":
                    continue
                case "CSeq":
                    fields.append(Header("CSeq", f"{cseq} {request.method}"))
                case "To" if remote is not None:
                    fields.append(Header("To", with_tag(header.value, remote.tag)))
                case "RAck":
                    fields.append(Header("RAck", mapped_rack(header.value, dialog.sent_as)))
                case _:
                    fields.append(capable(header))
        fields += [Header("Route", route) for route in routes]
        return Request(request.method, uri, headers=tuple(fields), body=request.body), hop

    async def _lead(self, transaction: ClientTransaction) -> None:
        """Find the way to the next hop and send there, to the first of its addresses that can be reached."""
        try:
            if not transaction.targets:
                transaction.targets = await self._targets(transaction)
            flow = await self._first_open(transaction)
        except Unreached as error:
            self.fail(transaction, error)
            return
        if transaction.final:
            return
        if transaction.cancelled and transaction.remote is None:
            self.fail(transaction, _CANCELED)
            return
        if transaction.remote is not None:
            transaction.remote.flow = flow
        self.transmit(transaction, flow)
        if transaction.remote is None:
            self._loop.call_later(_SILENT_S, self._silent, transaction, transaction.branch)

    async def _targets(self, transaction: ClientTransaction) -> list[Target]:
        """The addresses of the next hop. Inside a dialog the place that its flow led to comes first: the connection
        ended, but the far end's Contact may be an address that only the trunk can reach."""
        dialog, remote = transaction.dialog, transaction.remote
        known = [] if remote is None else [target_of(dialog, remote.flow)]
        try:
            return known + await self._common.ways.targets(transaction.hop, dialog.trunk)
        except Unreached:
            if not known:
                raise
            return known

    async def _first_open(self, transaction: ClientTransaction) -> Flow:
        ways, failure = self._common.ways, Unreached("connect", "No address of the trunk could be reached.")
        while transaction.targets:
            transaction.target = transaction.targets.pop(0)
            try:
                return await ways.open(transaction.target, transaction.dialog.trunk)
            except Unreached as error:
                ways.failed(transaction.target)
                failure = error
        raise failure

    def _silent(self, transaction: ClientTransaction, branch: str) -> None:
        """An address that says nothing is tried last for a while, and the next one gets the request now."""
        if transaction.status or transaction.branch != branch or transaction.target is None:
            return
        self._common.ways.failed(transaction.target)
        if transaction.targets and not transaction.cancelled and transaction.link is not None:
            trunk = transaction.dialog.trunk.name
            log.info("an address of a trunk does not answer; the next one is tried", extra={"trunk": trunk})
            self._give_up(transaction)
            self.again(transaction, elsewhere=True)

    def _give_up(self, transaction: ClientTransaction) -> None:
        """The INVITE goes elsewhere. Should its former address take it after all, it is cancelled or hung up there."""
        if transaction.method != "INVITE":
            return
        numbers = {transaction.pjsip_cseq: transaction.cseq}
        dialog = replace(transaction.dialog, link=None, remotes={}, sent_as=numbers, busy=False, waiting=deque())
        former = replace(transaction, link=None, dialog=dialog, cancelled=True, targets=[], exchange=Exchange())
        former.cancel = self.cancel_for(former)
        self._transactions.add_client(former, self._common.now_s())

    def transmit(self, transaction: ClientTransaction, flow: Flow) -> None:
        """Send the request on the flow."""
        dialog, request = transaction.dialog, transaction.request
        transaction.flow = flow
        if transaction.remote is None and transaction.method != "CANCEL":
            dialog.flow = flow
        fields = [Header("Via", via_of(flow, transaction.branch)), *request.headers]
        if request.method in _NEW_CONTACT:
            fields.append(Header("Contact", self._common.contact(dialog, flow)))
        if request.method != "CANCEL":  # RFC 3261 §22.1: it cannot be challenged
            answers = dialog.auth.answer(request.method, request.uri, request.body, transaction.exchange)
            transaction.credentials = tuple(Header(name, value) for name, value in answers)
            fields += transaction.credentials
        if request.method == "INVITE":
            dialog.invite_credentials = transaction.credentials
        transaction.sent = written(Request(request.method, request.uri, headers=tuple(fields), body=request.body))
        self._common.send(dialog, flow, transaction.sent)
        if transaction is dialog.invite:
            self._common.keep(dialog)

    def _repeat(self, transaction: ClientTransaction, request: Request) -> None:
        """PJSIP retransmits, as over UDP; a connection needs no repetition."""
        flow = transaction.flow
        if flow is None or transaction.final:
            return
        if not transaction.sent:  # the edge that sent it died
            if not transaction.status:
                transaction.flow = None
                transaction.request, transaction.hop = self._addressed(
                    request, transaction.dialog, transaction.remote, transaction.cseq
                )
                self._common.spawn(self._lead(transaction))
        elif flow.transport == "udp":
            self._common.send(transaction.dialog, flow, transaction.sent)

    def _acknowledge(self, dialog: Dialog, remote: Remote, request: Request, cseq: int, branch: str) -> None:
        """The ACK of a 2xx."""
        remote.acknowledged = True
        wire_cseq = dialog.sent_as.get(cseq, cseq + dialog.cseq_shift)
        addressed, _ = self._addressed(request, dialog, remote, wire_cseq)
        if remote.flow.is_open:
            self._send_ack(dialog, remote, addressed, branch)
        else:
            self._common.spawn(self._acknowledge_elsewhere(dialog, remote, addressed, branch))

    async def _acknowledge_elsewhere(self, dialog: Dialog, remote: Remote, ack: Request, branch: str) -> None:
        try:
            remote.flow = await self._common.ways.open(target_of(dialog, remote.flow), dialog.trunk)
        except Unreached as error:
            log.info("an ACK cannot be sent: %s", error, extra={"trunk": dialog.trunk.name})
            return
        self._send_ack(dialog, remote, ack, branch)

    def _send_ack(self, dialog: Dialog, remote: Remote, ack: Request, branch: str) -> None:
        fields = (Header("Via", via_of(remote.flow, branch)), *ack.headers, *dialog.invite_credentials)
        self._common.send(dialog, remote.flow, written(replace(ack, headers=fields)))

    def _cancel(self, invite: ClientTransaction, key: PjsipKey, request: Request) -> None:
        invite.cancelled = True
        cancel = self.cancel_for(invite)
        cancel.link, cancel.pjsip_via = invite.link, request.first("Via") or ""
        self._transactions.add_client(cancel, self._common.now_s(), key)
        if invite.flow is None:
            assert cancel.link is not None
            self.answer(cancel.link, cancel.instance, request, 200)
            self.fail(invite, _CANCELED)
        elif invite.status:
            self.send_cancel(cancel, invite)
        else:
            invite.cancel = cancel

    def cancel_for(self, invite: ClientTransaction) -> ClientTransaction:
        """The CANCEL of an INVITE, not sent yet."""
        return ClientTransaction(
            link=None,
            instance=invite.instance,
            pjsip_via="",
            pjsip_cseq=invite.pjsip_cseq,
            dialog=invite.dialog,
            remote=invite.remote,
            request=cancel_of(invite.request, invite.cseq),
            branch=invite.branch,
            cseq=invite.cseq,
        )

    def send_cancel(self, cancel: ClientTransaction, invite: ClientTransaction) -> None:
        """Send the CANCEL to where its INVITE went."""
        assert invite.flow is not None
        cancel.branch, cancel.request, cancel.cseq = invite.branch, cancel_of(invite.request, invite.cseq), invite.cseq
        self._transactions.add_client(cancel, self._common.now_s())
        if invite.flow.is_open:
            self.transmit(cancel, invite.flow)
        else:
            cancel.targets = [target_of(invite.dialog, invite.flow)]
            self._common.spawn(self._lead(cancel))

    def flow_lost(self, flow: Flow, error: Unreached) -> None:
        """A connection ended: what was sent on it and not answered goes over another, or fails."""
        for transaction in self._transactions.unanswered_on(flow):
            if transaction.reconnected and not (transaction.targets and transaction.remote is None):
                self.fail(transaction, error)
                continue
            # A trunk may close a connection at the moment when it is used again.
            if not transaction.reconnected:
                transaction.reconnected = True
                transaction.targets.insert(0, target_of(transaction.dialog, flow))
            self.again(transaction, elsewhere=True)

    def again(self, transaction: ClientTransaction, *, elsewhere: bool = False) -> None:
        """The same request as a new transaction (RFC 3261 §8.1.3.5)."""
        dialog = transaction.dialog
        dialog.cseq_shift += 1
        dialog.last_cseq += 1  # others may have been sent since
        transaction.cseq = dialog.last_cseq
        if transaction.method == "INVITE":
            dialog.invited(transaction.pjsip_cseq, transaction.cseq)
        transaction.request = transaction.request.with_header("CSeq", f"{transaction.cseq} {transaction.method}")
        transaction.branch, transaction.status = new_branch(), 0
        self._transactions.add_client(transaction, self._common.now_s())
        if elsewhere or transaction.flow is None or not transaction.flow.is_open:
            transaction.flow = None
            self._common.spawn(self._lead(transaction))
        else:
            self.transmit(transaction, transaction.flow)
        if transaction.remote is not None:
            self._common.keep(dialog)

    def answer_cancel(self, cancel: ClientTransaction) -> None:
        """Answer a CANCEL that need not be sent: the INVITE has its final response."""
        if cancel.link is not None:
            headers = tuple(one for one in cancel.request.headers if one.name in ("From", "To", "Call-ID"))
            own = (Header("Via", cancel.pjsip_via), *headers, Header("CSeq", f"{cancel.pjsip_cseq} CANCEL"))
            cancel.link.send(cancel.instance, written(Response(200, "OK", headers=own)))

    def answer(self, link: Link, instance: int, request: Request, status: int) -> None:
        """An answer to PJSIP by the edge alone."""
        names = ("Via", "From", "To", "Call-ID", "CSeq")
        headers = tuple(header for header in request.headers if header.name in names)
        link.send(instance, written(Response(status, REASONS[status], headers=headers)))

    def fail(self, transaction: ClientTransaction, error: Unreached) -> None:
        """Nothing could be sent: a response of the edge's own says so, and why in a field of its own."""
        canceled = error.kind == "canceled"
        transaction.status = 487 if canceled else 503
        transaction.expires_at_s = self._common.now_s() + LIFE_S
        if transaction.answered is not None:
            transaction.answered.set()
        dialog, method = transaction.dialog, transaction.method
        if transaction.remote is None and method not in ("REGISTER", "CANCEL"):
            self._common.drop(dialog)
        if transaction.link is None:
            return
        remote = transaction.remote
        shown = clean.response_for_pjsip(
            Response(transaction.status, error.what),
            via=transaction.pjsip_via,
            from_=dialog.from_,
            to=with_tag(dialog.to, remote.shown_tag if remote is not None else "edge"),
            call_id=dialog.call_id,
            cseq=f"{transaction.pjsip_cseq} {method}",
            peer="",
            body=b"",
        )
        if not canceled:
            failure = json.dumps({"kind": error.kind, "what": error.what, "hint": error.hint})
            shown = shown.appended(FAILURE, failure)
        transaction.link.send(transaction.instance, written(shown))


def target_of(dialog: Dialog, flow: Flow) -> Target:
    """Where a flow led, to lead there again; a certificate there must be valid for the trunk's host."""
    trunk = dialog.trunk
    host = RemoteUri.parse((*trunk.outbound_proxy, trunk.uri)[0]).host
    return Target(flow.peer[0], flow.peer[1], cast(Transport, flow.transport), host)
