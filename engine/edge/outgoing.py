"""What our processes ask of far ends: their requests on the wire, and the answers back to PJSIP.

The edge answers challenges, follows redirects and tries the next address by itself; PJSIP sees one request and its
outcome. Each final response to an INVITE is acknowledged here, whatever it says (RFC 3261 §17.1.1.3).
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import Final

from engine.edge import clean
from engine.edge.clean import FAILURE, TRUNK
from engine.edge.common import Common, Unreached
from engine.edge.dialogs import Dialog, Flow, Remote
from engine.edge.rewriting import (
    branch_of,
    cancel_of,
    capable,
    challenges,
    loose,
    mapped_rack,
    method_of,
    new_branch,
    readable_contact,
    record_routes,
    routed,
    tag_of,
    uri_of,
    via_of,
    with_tag,
)
from engine.edge.transactions import LIFE_S, ClientTransaction, PjsipKey
from engine.messages.link import Link
from engine.sip.digest import Credentials, Retry, Session
from engine.sip.fields import CSeq, NameAddr, Via, expires
from engine.sip.message import Header, Request, Response, write
from engine.sip.syntax import Malformed
from engine.sip.uri import RemoteUri

log = logging.getLogger("trunkline.edge")

_MOST_REMOTES: Final = 16
_MOST_REDIRECTS: Final = 5
_WAY_S: Final = 2.0
_NEW_CONTACT: Final = ("INVITE", "UPDATE", "REGISTER", "OPTIONS")


class Outgoing:
    """The client side. ``common`` is shared with the other side."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._transactions = common.transactions

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
            self._repeat(known)
            return
        if request.method == "CANCEL":
            if invite is not None and not invite.final:
                self._cancel(invite, key, request)
            return
        dialog = self._dialog_of(link, instance, request)
        tag = tag_of(request.first("To"))
        remote = dialog.remotes.get(tag) if dialog is not None and tag else None
        if dialog is None or (tag and remote is None):
            log.warning("a %s of PJSIP belongs to no dialog; it is dropped", request.method)
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
            self._common.dialogs.add(dialog)
        if dialog is not None and (registers or not dialog.from_):
            dialog.from_, dialog.to = from_, request.first("To") or ""
            asked_s = expires(request.first("Expires") or "")
            dialog.asked_expires_s = asked_s if asked_s is not None else 0
        return dialog

    def _begin(self, transaction: ClientTransaction, key: PjsipKey) -> None:
        dialog, remote = transaction.dialog, transaction.remote
        transaction.cseq = dialog.next_cseq(transaction.pjsip_cseq)
        if transaction.method == "INVITE":
            dialog.sent_as[transaction.pjsip_cseq] = transaction.cseq
        transaction.request, transaction.hop = self._addressed(transaction.request, dialog, remote, transaction.cseq)
        self._transactions.add_client(transaction, self._common.now_s(), key)
        if remote is not None and remote.flow.is_open:
            self.transmit(transaction, remote.flow)
        else:
            self._common.spawn(self._lead(transaction))

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
        ways, trunk = self._common.ways, transaction.dialog.trunk
        try:
            if not transaction.targets:
                transaction.targets = await ways.targets(transaction.hop, trunk)
            failure = Unreached("connect", "No address of the trunk could be reached.")
            while transaction.targets:
                try:
                    flow = await ways.open(transaction.targets.pop(0), trunk)
                except Unreached as error:
                    failure = error
                    continue
                if not transaction.final:
                    if transaction.remote is not None:
                        transaction.remote.flow = flow
                    self.transmit(transaction, flow)
                return
            raise failure
        except Unreached as error:
            self._fail(transaction, error)

    def transmit(self, transaction: ClientTransaction, flow: Flow) -> None:
        """Send the request on the flow."""
        dialog, request = transaction.dialog, transaction.request
        transaction.flow = flow
        if transaction.remote is None:
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
        transaction.sent = write(Request(request.method, request.uri, headers=tuple(fields), body=request.body))
        self._common.send(dialog, flow, transaction.sent)

    def _repeat(self, transaction: ClientTransaction) -> None:
        """PJSIP retransmits, as over UDP; a connection needs no repetition."""
        flow = transaction.flow
        if flow is not None and flow.transport == "udp" and not transaction.final and transaction.sent:
            self._common.send(transaction.dialog, flow, transaction.sent)

    def _acknowledge(self, dialog: Dialog, remote: Remote, request: Request, cseq: int, branch: str) -> None:
        """The ACK of a 2xx."""
        wire_cseq = dialog.sent_as.get(cseq, cseq + dialog.cseq_shift)
        addressed, _ = self._addressed(request, dialog, remote, wire_cseq)
        fields = (Header("Via", via_of(remote.flow, branch)), *addressed.headers, *dialog.invite_credentials)
        self._common.send(dialog, remote.flow, write(replace(addressed, headers=fields)))

    def _cancel(self, invite: ClientTransaction, key: PjsipKey, request: Request) -> None:
        invite.cancelled = True
        cancel = self.cancel_for(invite)
        cancel.link, cancel.pjsip_via = invite.link, request.first("Via") or ""
        self._transactions.add_client(cancel, self._common.now_s(), key)
        if invite.flow is None:
            self._fail(invite, Unreached("canceled", "The call was cancelled before its INVITE could be sent."))
        elif invite.status:
            self._send_cancel(cancel, invite)
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

    def _send_cancel(self, cancel: ClientTransaction, invite: ClientTransaction) -> None:
        assert invite.flow is not None
        cancel.branch, cancel.request = invite.branch, cancel_of(invite.request, invite.cseq)
        self._transactions.add_client(cancel, self._common.now_s())
        self.transmit(cancel, invite.flow)

    def flow_lost(self, flow: Flow, error: Unreached) -> None:
        """A connection ended: what was sent on it and not answered goes elsewhere or fails."""
        for transaction in self._transactions.unanswered_on(flow):
            if transaction.targets and transaction.remote is None:
                self._again(transaction, elsewhere=True)
            else:
                self._fail(transaction, error)

    # -- responses of far ends -----------------------------------------------------------------------------------------

    def response(self, flow: Flow, response: Response, data: bytes) -> None:
        """A response from the network."""
        via = response.first("Via") or ""
        branch, method = branch_of(via), method_of(response)
        invite = method == "INVITE"
        if invite and response.status >= 300 and self._transactions.repeat_ack(branch):
            return
        transaction = self._transactions.client(branch, method)
        if transaction is None:
            return
        self._common.note(transaction.dialog.call_id, "<", data, flow)
        repeated = transaction.final
        if repeated and not (invite and transaction.status < 300 and response.status < 300):
            return  # the first final response counts; PJSIP acknowledges a repeated 2xx
        if invite and response.status >= 300:
            self._acknowledge_refusal(transaction, response)
        if response.status >= 300 and self._goes_on(transaction, response):
            return
        transaction.status = max(transaction.status, response.status)
        if transaction.cancel is not None and not transaction.final:
            cancel, transaction.cancel = transaction.cancel, None
            self._send_cancel(cancel, transaction)
        if transaction.final:
            transaction.expires_at_s = self._common.now_s() + LIFE_S
        if transaction.answered is not None and (transaction.final or invite):
            transaction.answered.set()
        accepted = method == "INVITE" and 200 <= response.status < 300  # counts without a tag too (RFC 2543)
        tagged = method in ("INVITE", "UPDATE") and 100 < response.status < 300 and tag_of(response.first("To"))
        if tagged or accepted:
            self._learn(transaction, flow, response, method)
        else:
            self._hand_over(transaction, response, method)

    def _learn(self, transaction: ClientTransaction, flow: Flow, response: Response, method: str) -> None:
        """Take in what the far end says of itself (its tag, target and route set), then hand the response over.

        The way to a new target is found before PJSIP acts on it: what it sends then goes out at once. What the far end
        sends right behind the response waits for that.
        """
        dialog, tag = transaction.dialog, tag_of(response.first("To"))
        remote, contact = dialog.remote_of(tag), readable_contact(response.first("Contact"))
        if remote is None:
            if method != "INVITE" or len(dialog.remotes) >= _MOST_REMOTES:
                return
            remote = Remote(tag, contact or transaction.request.uri, record_routes(response), transaction.flow or flow)
            dialog.remotes[remote.shown_tag] = remote
            changed = True
        elif remote.waiting is not None:
            remote.waiting.append(lambda: self._learn(transaction, flow, response, method))
            return
        elif remote.confirmed and transaction.remote is None:
            changed = False  # the 2xx of a first INVITE again: what it says counts once
        else:
            changed = contact is not None and contact != remote.target
            remote.target = contact or remote.target
        if method == "INVITE" and response.status >= 200 and not remote.confirmed:
            routes = record_routes(response)
            changed = changed or routes != remote.routes
            remote.routes, remote.confirmed = routes, True
        if changed or self._common.descriptions.name_in(response) is not None:
            remote.waiting = []
            self._common.spawn(self._find_way_first(transaction, remote, flow, response, method))
        else:
            self._common.keep(dialog)
            self._hand_over(transaction, response, method)

    async def _find_way_first(
        self, transaction: ClientTransaction, remote: Remote, flow: Flow, response: Response, method: str
    ) -> None:
        descriptions, dialog = self._common.descriptions, transaction.dialog
        try:
            await self.find_way(dialog, remote, transaction.flow or flow)
            if (name := descriptions.name_in(response)) is not None:
                await descriptions.resolve(name, dialog.trunk)
        finally:
            waiting, remote.waiting = remote.waiting or [], None
            self._common.keep(dialog)
            self._hand_over(transaction, response, method)
            for serve in waiting:
                serve()

    async def find_way(self, dialog: Dialog, remote: Remote, fallback: Flow) -> None:
        """Set the flow to the remote's next hop; ``fallback``, which took the INVITE, where there is no better one.

        What belongs to a dialog stays on the connection that was made for it (RFC 5923).
        """
        remote.flow, remote.detour = fallback, ""
        hop = routed(remote)[2]
        detour = loose((*dialog.trunk.outbound_proxy, dialog.trunk.uri)[0])
        try:
            transport = RemoteUri.parse(hop).transport
            if fallback.transport == "tls" and transport != "tls":
                remote.detour = detour
            if fallback.transport != "udp" or transport not in ("udp", "tcp"):
                return
            async with asyncio.timeout(_WAY_S):
                for target in await self._common.ways.targets(hop, dialog.trunk):
                    remote.flow = await self._common.ways.open(target, dialog.trunk)
                    return
        except (Unreached, Malformed, TimeoutError) as error:
            log.info("the far end's address cannot be reached, the way of its INVITE is used: %s", error)

    def _goes_on(self, transaction: ClientTransaction, response: Response) -> bool:
        """Send the request again where a refusal asks for it: a challenge, a redirect, another address."""
        if transaction.cancelled:
            return False
        dialog = transaction.dialog
        if response.status in (401, 407):
            if not dialog.trunk.username:
                return False
            outcome = dialog.auth.challenged(challenges(response), transaction.exchange)
            if isinstance(outcome, Retry):
                self._again(transaction)
                return True
            log.warning("a challenge is not answered: %s", outcome.reason, extra={"trunk": dialog.trunk.name})
            return False
        first = transaction.remote is None
        if 300 <= response.status < 400 and transaction.method == "INVITE" and first:
            return self._redirect(transaction, response)
        if response.status == 503 and transaction.targets and first:
            self._again(transaction, elsewhere=True)
            return True
        return False

    def _again(self, transaction: ClientTransaction, *, elsewhere: bool = False) -> None:
        """The same request as a new transaction (RFC 3261 §8.1.3.5)."""
        dialog = transaction.dialog
        dialog.cseq_shift += 1
        transaction.cseq = dialog.next_cseq(transaction.pjsip_cseq)
        if transaction.method == "INVITE":
            dialog.sent_as[transaction.pjsip_cseq] = transaction.cseq
        transaction.request = transaction.request.with_header("CSeq", f"{transaction.cseq} {transaction.method}")
        transaction.branch, transaction.status = new_branch(), 0
        self._transactions.add_client(transaction, self._common.now_s())
        if elsewhere or transaction.flow is None or not transaction.flow.is_open:
            self._common.spawn(self._lead(transaction))
        else:
            self.transmit(transaction, transaction.flow)

    def _redirect(self, transaction: ClientTransaction, response: Response) -> bool:
        """Follow a 3xx that leads to the trunk's own host, where the trunk's redirects are followed."""
        trunk = transaction.dialog.trunk
        if not trunk.follow_redirects or transaction.redirects >= _MOST_REDIRECTS:
            return False
        home = RemoteUri.parse(trunk.uri)
        for value in response.all("Contact"):
            contact = readable_contact(value)
            if contact is None:
                continue
            target = RemoteUri.parse(contact)
            if (target.scheme, target.host.lower()) == (home.scheme, home.host.lower()):
                transaction.redirects += 1
                transaction.request = replace(transaction.request, uri=str(target))
                through_proxy = bool(trunk.outbound_proxy)
                if not through_proxy:
                    transaction.hop, transaction.targets = str(target), []
                self._again(transaction, elsewhere=not through_proxy)
                return True
        return False

    def _acknowledge_refusal(self, transaction: ClientTransaction, response: Response) -> None:
        flow, request = transaction.flow, transaction.request
        if flow is None:
            return
        fields = [Header("Via", via_of(flow, transaction.branch)), Header("Max-Forwards", "70")]
        fields += [header for header in request.headers if header.name in ("From", "Call-ID", "Route")]
        fields += [Header("To", response.first("To") or transaction.dialog.to)]
        fields += [Header("CSeq", f"{transaction.cseq} ACK")]
        ack = write(Request("ACK", request.uri, headers=tuple(fields)))
        self._transactions.add_ack(transaction.branch, flow, ack, self._common.now_s())
        self._common.send(transaction.dialog, flow, ack)

    def _hand_over(self, transaction: ClientTransaction, response: Response, method: str) -> None:
        """Give PJSIP the response."""
        dialog, remote = transaction.dialog, transaction.remote
        registrations = self._common.registrations
        if method == "REGISTER" and transaction.final:
            registrations.note(dialog, response)
        self._settle(transaction, response, method)
        if transaction.link is None:
            return
        body, unusable = self._common.descriptions.of_answer(response, transaction.request.body)
        tag = remote.shown_tag if remote is not None else clean.safe_tag(tag_of(response.first("To")))
        shown = clean.response_for_pjsip(
            response,
            via=transaction.pjsip_via,
            from_=dialog.from_,
            to=with_tag(dialog.to, tag) if response.status > 100 else dialog.to,
            call_id=dialog.call_id,
            cseq=f"{transaction.pjsip_cseq} {method}",
            peer=transaction.flow.peer[0] if transaction.flow is not None else "",
            body=body,
        )
        if unusable and method == "INVITE" and 200 <= response.status < 300:
            shown = shown.appended(clean.UNUSABLE, unusable)
        if method == "REGISTER":
            shown = replace(shown, headers=(*shown.headers, *registrations.shown(dialog, response)))
        transaction.link.send(transaction.instance, write(shown))

    def _settle(self, transaction: ClientTransaction, response: Response, method: str) -> None:
        """Drop the dialog where the response ends it."""
        if not transaction.final:
            return
        dialog = transaction.dialog
        first = transaction.remote is None
        if method == "BYE":
            self._common.forget(dialog)
        elif first and (method == "OPTIONS" or (method == "INVITE" and response.status >= 300)):
            self._common.drop(dialog)

    def _fail(self, transaction: ClientTransaction, error: Unreached) -> None:
        """Nothing could be sent: a response of the edge's own says so, and why in a field of its own."""
        canceled = error.kind == "canceled"
        transaction.status = 487 if canceled else 503
        transaction.expires_at_s = self._common.now_s() + LIFE_S
        if transaction.answered is not None:
            transaction.answered.set()
        dialog, method = transaction.dialog, transaction.method
        if transaction.remote is None and method != "REGISTER":
            self._common.drop(dialog)
        if transaction.link is None:
            return
        shown = clean.response_for_pjsip(
            Response(transaction.status, error.what),
            via=transaction.pjsip_via,
            from_=dialog.from_,
            to=with_tag(dialog.to, "edge"),
            call_id=dialog.call_id,
            cseq=f"{transaction.pjsip_cseq} {method}",
            peer="",
            body=b"",
        )
        if not canceled:
            failure = json.dumps({"kind": error.kind, "what": error.what, "hint": error.hint})
            shown = shown.appended(FAILURE, failure)
        transaction.link.send(transaction.instance, write(shown))
