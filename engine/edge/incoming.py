"""What far ends ask of our calls: their requests to PJSIP, and its answers back on the wire."""

from __future__ import annotations

import hashlib
import logging
from typing import Final

from engine.edge import clean
from engine.edge.answers import REASONS, Fields, answer_to
from engine.edge.common import Common
from engine.edge.dialogs import Dialog, Flow, Remote
from engine.edge.outgoing import Outgoing
from engine.edge.rewriting import capable, internal_branch, method_of, readable_contact, tag_of, with_tag
from engine.edge.transactions import LIFE_S, ServerTransaction
from engine.sip.fields import Via
from engine.sip.message import Header, Request, Response, write
from engine.sip.sdp import Unreadable

log = logging.getLogger("trunkline.edge")

_BODY_MAX: Final = 2048
_OURS: Final = ("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Record-Route", "Content-Length")


class Incoming:
    """The server side."""

    def __init__(self, common: Common, outgoing: Outgoing) -> None:
        self._common = common
        self._outgoing = outgoing

    def request(self, flow: Flow, request: Request, data: bytes) -> None:
        """A request from the network. What belongs to no dialog of ours is answered here, at its source."""
        request.check()
        ours, theirs = tag_of(request.first("To")), tag_of(request.first("From"))
        dialog = self._common.dialogs.get(request.first("Call-ID") or "", ours) if ours else None
        remote = dialog.remote_of(theirs) if dialog is not None else None
        if dialog is not None:
            self._common.note(dialog.call_id, "<", data, flow)
        if remote is not None and remote.waiting is not None:
            remote.waiting.append(lambda: self._serve(flow, request, dialog, remote))
        else:
            self._serve(flow, request, dialog, remote)

    async def _resolve_first(self, name: str, flow: Flow, request: Request, dialog: Dialog, remote: Remote) -> None:
        try:
            await self._common.descriptions.resolve(name, dialog.trunk)
        finally:
            waiting, remote.waiting = remote.waiting or [], None
            self._serve(flow, request, dialog, remote)
            for serve in waiting:
                serve()

    def _serve(self, flow: Flow, request: Request, dialog: Dialog | None, remote: Remote | None) -> None:
        served = remote is not None and dialog is not None and dialog.link is not None
        answer = answer_to(request, in_dialog=served)
        if answer is not None:
            self._respond(flow, request, *answer)
        elif served:
            assert dialog is not None and remote is not None
            if (name := self._common.descriptions.name_in(request)) is not None:
                remote.waiting = []
                self._common.spawn(self._resolve_first(name, flow, request, dialog, remote))
                return
            self._pass_on(flow, request, dialog, remote)

    def _pass_on(self, flow: Flow, request: Request, dialog: Dialog, remote: Remote) -> None:
        body, content_type = request.body, request.first("Content-Type") or ""
        if body and request.method in ("INVITE", "UPDATE", "ACK"):
            try:
                body, content_type = self._common.descriptions.of_offer(request), "application/sdp"
            except Unreadable as error:
                log.info("an offer cannot be read: %s", error, extra={"sipCallId": dialog.call_id})
                if request.method != "ACK":
                    self._respond(flow, request, 488, ())
                    return
                body = b""
        elif len(body) > _BODY_MAX:
            self._respond(flow, request, 413, ())
            return
        branch = internal_branch(request)
        known = self._common.transactions.server(branch, request.method)
        if known is not None and known.sent:
            self._common.send(dialog, flow, known.sent)
            return
        if known is None and request.method != "ACK":
            ends_at_s = self._common.now_s() + 2 * LIFE_S
            self._common.transactions.add_server(branch, ServerTransaction(flow, request, dialog, remote, ends_at_s))
        shown = clean.request_for_pjsip(
            request,
            uri=dialog.pjsip_contact or "sip:127.0.0.1:5060",
            via=f"SIP/2.0/UDP 127.0.0.1:5060;rport;branch={branch}",
            from_=with_tag(dialog.to, remote.shown_tag),
            to=dialog.from_,
            content_type=content_type,
            body=body,
        )
        if dialog.link is not None:
            dialog.link.send(dialog.instance, write(shown))

    def response(self, response: Response) -> None:
        """PJSIP's answer to a far end's request."""
        branch, method = Via.parse(response.first("Via") or "").branch or "", method_of(response)
        transaction = self._common.transactions.server(branch, method)
        if transaction is None:
            return
        request, dialog, remote = transaction.request, transaction.dialog, transaction.remote
        kept = ("Via", "Record-Route", "From", "To", "Call-ID", "CSeq")
        fields = [header for header in request.headers if header.name in kept]
        if 100 < response.status < 300 and method in ("INVITE", "UPDATE"):
            fields.append(Header("Contact", self._common.contact(dialog, transaction.flow)))
        own = clean.without_private(response.headers)
        fields += [capable(header) for header in own if header.name not in _OURS]
        data = write(Response(response.status, response.reason, headers=tuple(fields), body=response.body))
        if response.status >= 200:
            transaction.expires_at_s = self._common.now_s() + LIFE_S
            if method != "INVITE" or response.status >= 300:
                transaction.sent = data  # PJSIP repeats a 2xx by itself until its ACK comes
            if response.status < 300:
                self._accepted(dialog, remote, request)
        self._common.send(dialog, transaction.flow, data)

    def _accepted(self, dialog: Dialog, remote: Remote, request: Request) -> None:
        """RFC 3261 §12.2.2: the Contact of a re-INVITE or UPDATE that was accepted is the target from now on."""
        if request.method == "BYE":
            self._common.forget(dialog)
        elif request.method in ("INVITE", "UPDATE"):
            contact = readable_contact(request.first("Contact"))
            if contact is not None and contact != remote.target:
                remote.target = contact
                self._common.spawn(self._outgoing.find_way(dialog, remote, dialog.flow or remote.flow))
            self._common.keep(dialog)

    def _respond(self, flow: Flow, request: Request, status: int, fields: Fields) -> None:
        """Answer at the request's source (RFC 3581), without a transaction (RFC 3261 §8.2.7)."""
        if request.method == "ACK":
            return
        to = request.first("To") or ""
        if not tag_of(to):
            to = f"{to};tag={hashlib.sha256(to.encode()).hexdigest()[:16]}"
        headers = [header for header in request.headers if header.name in ("Via", "From", "Call-ID", "CSeq")]
        headers.append(Header("To", to))
        headers += [Header(name, value) for name, value in fields]
        flow.send(write(Response(status, REASONS.get(status, "Refused"), headers=tuple(headers))))
