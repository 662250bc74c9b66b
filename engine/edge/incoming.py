"""What far ends ask of our calls: their requests to PJSIP, and its answers back on the wire."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Coroutine
from typing import Any, Final

from engine.edge import clean
from engine.edge.answers import REASONS, Fields, answer_to
from engine.edge.clean import written
from engine.edge.common import Common
from engine.edge.descriptions import OUR_OFFER
from engine.edge.dialogs import Dialog, Flow, Remote
from engine.edge.responses import Responses
from engine.edge.rewriting import (
    answer_port,
    answered_vias,
    capable,
    internal_branch,
    method_of,
    readable_contact,
    tag_of,
    with_tag,
)
from engine.edge.transactions import LIFE_S, ServerTransaction
from engine.sip.dtmf import info_signal
from engine.sip.fields import Via
from engine.sip.message import Header, Request, Response, read
from engine.sip.sdp import Unreadable
from engine.sip.syntax import Malformed

log = logging.getLogger("trunkline.edge")

_OURS: Final = ("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Record-Route", "Content-Length")


class Incoming:
    """The server side."""

    def __init__(self, common: Common, responses: Responses) -> None:
        self._common = common
        self._responses = responses

    def request(self, flow: Flow, request: Request, data: bytes) -> None:
        """A request from the network. What belongs to no dialog of ours is answered here, at its source."""
        request.check()
        ours, theirs = tag_of(request.first("To")), tag_of(request.first("From"))
        dialog = self._common.dialogs.get(request.first("Call-ID") or "", ours) if ours else None
        if dialog is None:
            if (answer := answer_to(request, in_dialog=False)) is not None:
                self._respond(flow, request, *answer)
            return
        self._common.note(dialog.call_id, "<", data, flow)
        self._common.in_turn(dialog, lambda: self._serve(flow, request, dialog, theirs))

    def refuse(self, flow: Flow, data: bytes, status: int) -> None:
        """Answer a request that cannot be read, as far as it names its sender (RFC 3261 §8.2)."""
        try:
            message = read(data, strict=False)
            if isinstance(message, Request):
                Via.parse(message.first("Via") or "")
                if all(message.first(name) for name in ("From", "To", "Call-ID", "CSeq")):
                    self._respond(flow, message, status, ())
        except (Malformed, ValueError):
            return

    def _serve(self, flow: Flow, request: Request, dialog: Dialog, theirs: str) -> Coroutine[Any, Any, None] | None:
        """A request that names a dialog of ours; the far end may have left it, or the process may be gone."""
        remote = dialog.remote_of(theirs)
        served = remote is not None and dialog.link is not None
        answer = answer_to(request, in_dialog=served)
        if answer is not None:
            self._respond(flow, request, *answer)
            return None
        if remote is None or (request.method != "ACK" and self._repeated(flow, request, dialog)):
            return None
        if not remote.flow.is_open and flow.is_open:
            remote.flow = flow  # the far end has made another connection
        if request.body and request.method in ("INVITE", "UPDATE", "ACK"):
            return self._pass_on_described(flow, request, dialog, remote)
        key = info_signal(request.first("Content-Type") or "", request.body.decode("utf-8", "replace"))
        if request.method == "INFO" and key is not None:
            body = f"Signal={key}\r\nDuration=160\r\n".encode()
            self._pass_on(flow, request, dialog, remote, body, "application/dtmf-relay")
        else:
            self._pass_on(flow, request, dialog, remote, b"", "")
        return None

    def _repeated(self, flow: Flow, request: Request, dialog: Dialog) -> bool:
        """Answer a retransmission of what was answered."""
        known = self._common.transactions.server(internal_branch(request), request.method)
        if known is None or not known.sent:
            return False
        self._common.send(dialog, flow.to_port(answer_port(request, flow)), known.sent)
        return True

    async def _pass_on_described(self, flow: Flow, request: Request, dialog: Dialog, remote: Remote) -> None:
        try:
            if request.method == "ACK":  # it has the answer to our offer
                carrier = Response(200, "", headers=request.headers, body=request.body)
                body, _ = await self._common.answer(carrier, OUR_OFFER, dialog.trunk)
            else:
                body = await self._common.offer(request, dialog.trunk)
        except Unreadable as error:
            log.info("an offer cannot be read: %s", error, extra={"sipCallId": dialog.call_id})
            self._respond(flow, request, 488, ())
            return
        self._pass_on(flow, request, dialog, remote, body, "application/sdp")

    def _pass_on(
        self, flow: Flow, request: Request, dialog: Dialog, remote: Remote, body: bytes, content_type: str
    ) -> None:
        branch = internal_branch(request)
        if request.method != "ACK" and self._common.transactions.server(branch, request.method) is None:
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
            dialog.link.send(dialog.instance, written(shown))

    def response(self, response: Response) -> None:
        """PJSIP's answer to a far end's request."""
        branch, method = Via.parse(response.first("Via") or "").branch or "", method_of(response)
        transaction = self._common.transactions.server(branch, method)
        if transaction is None:
            return
        request, dialog, remote = transaction.request, transaction.dialog, transaction.remote
        kept = ("Record-Route", "From", "To", "Call-ID", "CSeq")
        fields = answered_vias(request, transaction.flow)
        fields += [header for header in request.headers if header.name in kept]
        if 100 < response.status < 300 and method in ("INVITE", "UPDATE"):
            fields.append(Header("Contact", self._common.contact(dialog, transaction.flow)))
        own = clean.without_private(response.headers)
        fields += [capable(header) for header in own if header.name not in _OURS]
        data = written(Response(response.status, response.reason, headers=tuple(fields), body=response.body))
        if transaction.sent and transaction.flow.transport != "udp":
            return  # a connection needs no repetition
        if response.status >= 200:
            transaction.expires_at_s = self._common.now_s() + LIFE_S
            if method != "INVITE" or response.status >= 300:
                transaction.sent = data  # PJSIP repeats a 2xx by itself until its ACK comes
            if response.status < 300:
                self._accepted(dialog, remote, request, transaction.flow)
        self._common.send(dialog, transaction.flow.to_port(answer_port(request, transaction.flow)), data)

    def _accepted(self, dialog: Dialog, remote: Remote, request: Request, flow: Flow) -> None:
        """RFC 3261 §12.2.2: the Contact of a re-INVITE or UPDATE that was accepted is the target from now on."""
        if request.method == "BYE":
            self._common.hung_up(dialog, remote)
        elif request.method in ("INVITE", "UPDATE"):
            contact = readable_contact(request.first("Contact"))
            if contact is not None and contact != remote.target:
                remote.target = contact
                self._common.spawn(
                    self._responses.find_way(
                        dialog, remote, dialog.flow if dialog.flow is not None and dialog.flow.is_open else flow
                    )
                )
            self._common.keep(dialog)

    def _respond(self, flow: Flow, request: Request, status: int, fields: Fields) -> None:
        """Answer at the request's source (RFC 3581), without a transaction (RFC 3261 §8.2.7)."""
        if request.method == "ACK":
            return
        to = request.first("To") or ""
        if not tag_of(to):
            to = f"{to};tag={hashlib.sha256(to.encode()).hexdigest()[:16]}"
        headers = answered_vias(request, flow)
        headers += [header for header in request.headers if header.name in ("From", "Call-ID", "CSeq")]
        headers.append(Header("To", to))
        headers += [Header(name, value) for name, value in fields]
        answer = Response(status, REASONS.get(status, "Refused"), headers=tuple(headers))
        flow.to_port(answer_port(request, flow)).send(written(answer))
