"""What far ends answer to our processes: taken in here, and handed to PJSIP in the edge's own words.

The edge answers challenges, follows redirects and tries the next address by itself; PJSIP sees one request and its
outcome. Each final response to an INVITE is acknowledged here, whatever it says (RFC 3261 §17.1.1.3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final

from engine.edge import clean
from engine.edge.clean import written
from engine.edge.common import Common, Unreached
from engine.edge.descriptions import OUR_OFFER
from engine.edge.dialogs import Dialog, Flow, Remote
from engine.edge.outgoing import Outgoing
from engine.edge.rewriting import (
    loose,
    method_of,
    readable_contact,
    record_routes,
    routed,
    tag_of,
    via_of,
    with_tag,
)
from engine.edge.transactions import INVITE_LIFE_S, LIFE_S, ClientTransaction
from engine.sip.digest import Challenge, Retry, read_challenges
from engine.sip.fields import NameAddr, Via
from engine.sip.message import Header, Request, Response
from engine.sip.syntax import Malformed
from engine.sip.uri import RemoteUri

log = logging.getLogger("trunkline.edge")

_MOST_REMOTES: Final = 16
_MOST_REDIRECTS: Final = 5
_WAY_S: Final = 2.0
_ACK_S: Final = 10.0
"""How long PJSIP may take for the ACK of a 2xx. A process that is alive needs milliseconds."""


class Responses:
    """The responses to what ``outgoing`` sent."""

    def __init__(self, common: Common, outgoing: Outgoing) -> None:
        self._common = common
        self._outgoing = outgoing
        self._transactions = common.transactions
        self._loop = asyncio.get_running_loop()

    def response(self, flow: Flow, response: Response, data: bytes) -> None:
        """A response from the network."""
        branch, method = _branch_of(response.first("Via") or ""), method_of(response)
        refuses = method == "INVITE" and response.status >= 300
        if refuses and self._transactions.repeat_ack(branch):
            return
        transaction = self._transactions.client(branch, method)
        if transaction is None:
            return
        self._common.note(transaction.dialog.call_id, "<", data, flow)
        if refuses and transaction.final and transaction.status < 300:
            return  # the first final response counts (RFC 3261 §17.1.1.2)
        if refuses:
            self._acknowledge_refusal(transaction, response)
        accepts = method == "INVITE" and 200 <= response.status < 300
        if transaction.final and not accepts:
            return
        if transaction.target is not None and response.status != 503:
            self._common.ways.answered(transaction.target)
        if response.status >= 300 and self._goes_on(transaction, response):
            return
        too_late = transaction.final and transaction.status >= 300
        if not too_late:
            response = self._take(transaction, response)
        self._common.in_turn(transaction.dialog, lambda: self._serve(transaction, flow, response, too_late=too_late))

    def _take(self, transaction: ClientTransaction, response: Response) -> Response:
        """Note where the transaction is. A challenge of a request that was cancelled is its end."""
        if transaction.cancelled and response.status in (401, 407):
            response = replace(response, status=487, reason="Request Terminated")
        transaction.status = max(transaction.status, response.status)
        if transaction.cancel is not None:
            cancel, transaction.cancel = transaction.cancel, None
            if not transaction.final:
                self._outgoing.send_cancel(cancel, transaction)
            elif cancel.link is not None:
                self._outgoing.answer_cancel(cancel)
        invites = transaction.method == "INVITE"
        if transaction.final:
            transaction.expires_at_s = self._common.now_s() + LIFE_S
        elif invites:
            transaction.expires_at_s = self._common.now_s() + INVITE_LIFE_S  # RFC 3261 §16.7: Timer C begins again
        if transaction.answered is not None and (transaction.final or invites):
            transaction.answered.set()
        return response

    def _serve(
        self, transaction: ClientTransaction, flow: Flow, response: Response, *, too_late: bool
    ) -> Coroutine[Any, Any, None] | None:
        method = transaction.method
        if method in ("INVITE", "UPDATE") and 100 < response.status < 300:
            return self._learn(transaction, flow, response, too_late=too_late)
        self._hand_over(transaction, response)
        return None

    async def _learn(self, transaction: ClientTransaction, flow: Flow, response: Response, *, too_late: bool) -> None:
        """Take in what the far end says of itself (its tag, target and route set), then hand the response over: what
        PJSIP sends next knows its way."""
        dialog, final, begins = transaction.dialog, response.status >= 200, transaction.remote is None
        way = transaction.flow if transaction.flow is not None and transaction.flow.is_open else flow
        tag = tag_of(response.first("To"))
        remote = transaction.remote or dialog.remote_of(tag)
        changed = False
        if remote is None and transaction.method == "INVITE" and (tag or final):
            remote, changed = self._begin_remote(transaction, response, tag, way), True
            if remote is None:
                return
        # A 2xx of a first INVITE that comes again counts once: it may not move the dialog.
        if remote is not None and not (begins and remote.confirmed):
            contact = readable_contact(response.first("Contact"))
            changed = changed or (contact is not None and contact != remote.target)
            remote.target = contact or remote.target
            if transaction.method == "INVITE" and begins and final and not remote.confirmed:
                remote.routes, remote.confirmed, changed = record_routes(response), True, True
                if not too_late and transaction.link is not None:
                    self._loop.call_later(_ACK_S, self._check_ack, dialog, remote)
                else:
                    self._common.abandoned(dialog, remote)
            if changed:
                await self.find_way(dialog, remote, remote.flow if remote.flow.is_open else way)
                self._common.keep(dialog)
        if too_late:
            return
        # What the INVITE offered is not kept for the next edge: it was audio.
        offer = transaction.request.body if transaction.sent else OUR_OFFER
        body, unusable = await self._common.answer(response, offer, dialog.trunk)
        self._hand_over(transaction, response, body, unusable if begins and final else "")

    def _begin_remote(self, transaction: ClientTransaction, response: Response, tag: str, flow: Flow) -> Remote | None:
        """A far end that has not spoken yet; None when there are too many. One that answers always has a place."""
        dialog = transaction.dialog
        if len(dialog.remotes) >= _MOST_REMOTES:
            ringing = next((one for one in dialog.remotes.values() if not one.confirmed), None)
            if response.status < 200 or ringing is None:
                return None
            del dialog.remotes[ringing.shown_tag]
        remote = Remote(tag, transaction.request.uri, record_routes(response), flow)
        dialog.remotes[remote.shown_tag] = remote
        return remote

    def _check_ack(self, dialog: Dialog, remote: Remote) -> None:
        """PJSIP has given the INVITE up, and its far end answered all the same."""
        if not (remote.acknowledged or remote.ended) and dialog.link is not None:
            self._common.abandoned(dialog, remote)

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
            kind = error.kind if isinstance(error, Unreached) else "uri" if isinstance(error, Malformed) else "timeout"
            log.info(
                "the far end's address cannot be reached, the way of its INVITE is used",
                extra={"sipCallId": dialog.call_id, "kind": kind},
            )

    def _goes_on(self, transaction: ClientTransaction, response: Response) -> bool:
        """Send the request again where a refusal asks for it: a challenge, a redirect, another address."""
        if transaction.cancelled:
            return False
        dialog = transaction.dialog
        if response.status in (401, 407):
            if not dialog.trunk.username:
                return False
            outcome = dialog.auth.challenged(_challenges(response), transaction.exchange)
            if isinstance(outcome, Retry):
                self._outgoing.again(transaction)
                return True
            log.warning("a challenge is not answered: %s", outcome.reason, extra={"trunk": dialog.trunk.name})
            return False
        first = transaction.remote is None
        if 300 <= response.status < 400 and transaction.method == "INVITE" and first:
            return self._redirect(transaction, response)
        if response.status == 503 and first and transaction.target is not None:
            self._common.ways.failed(transaction.target)
            if transaction.targets:
                self._outgoing.again(transaction, elsewhere=True)
                return True
        return False

    def _redirect(self, transaction: ClientTransaction, response: Response) -> bool:
        """Follow a 3xx that leads to the trunk's own host, where the trunk's redirects are followed."""
        trunk = transaction.dialog.trunk
        if not trunk.follow_redirects or transaction.redirects >= _MOST_REDIRECTS:
            return False
        home = RemoteUri.parse(trunk.uri)
        for value in sorted(response.all("Contact"), key=_preference, reverse=True):
            contact = readable_contact(value)
            if contact is None:
                continue
            target = RemoteUri.parse(contact)
            if (target.scheme, target.host.lower()) == (home.scheme, home.host.lower()):
                transaction.redirects += 1
                transaction.request = replace(transaction.request, uri=str(target))
                through_proxy = bool(transaction.request.all("Route"))
                if not through_proxy:
                    transaction.hop, transaction.targets = str(_by_the_same_transport(target, home)), []
                self._outgoing.again(transaction, elsewhere=not through_proxy)
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
        ack = written(Request("ACK", request.uri, headers=tuple(fields)))
        self._transactions.add_ack(transaction.branch, flow, ack, self._common.now_s())
        self._common.send(transaction.dialog, flow, ack)

    def _hand_over(
        self, transaction: ClientTransaction, response: Response, body: bytes = b"", unusable: str = ""
    ) -> None:
        """Give PJSIP the response."""
        dialog, remote, method = transaction.dialog, transaction.remote, transaction.method
        registrations = self._common.registrations
        if method == "REGISTER" and transaction.final:
            registrations.note(dialog, response)
            self._common.keep(dialog)  # a registrar refuses a CSeq that goes back (RFC 3261 §10.3)
        self._settle(transaction, response)
        if transaction.link is None:
            return
        tag = tag_of(response.first("To"))
        shown_tag = remote.shown_tag if remote is not None else clean.safe_tag(tag) if tag or transaction.final else ""
        shown = clean.response_for_pjsip(
            response,
            via=transaction.pjsip_via,
            from_=dialog.from_,
            to=with_tag(dialog.to, shown_tag) if response.status > 100 else dialog.to,
            call_id=dialog.call_id,
            cseq=f"{transaction.pjsip_cseq} {method}",
            peer=transaction.flow.peer[0] if transaction.flow is not None else "",
            body=body,
            unusable=unusable,
        )
        if method == "REGISTER":
            shown = replace(shown, headers=(*shown.headers, *registrations.shown(dialog, response)))
        transaction.link.send(transaction.instance, written(shown))

    def _settle(self, transaction: ClientTransaction, response: Response) -> None:
        """Drop the dialog where the response ends it."""
        if response.status < 200:
            return
        dialog, remote, method = transaction.dialog, transaction.remote, transaction.method
        if method == "BYE" and remote is not None:
            self._common.hung_up(dialog, remote)
        elif remote is None and (method == "OPTIONS" or (method == "INVITE" and response.status >= 300)):
            self._common.drop(dialog)


def _branch_of(via: str) -> str:
    """The branch of our Via as it came back, whatever else was done to it."""
    try:
        return Via.parse(via).branch or ""
    except Malformed:
        return ""


def _preference(contact: str) -> float:
    """The q of a Contact (RFC 3261 §20.10); 1 without one that can be read."""
    try:
        q = NameAddr.parse(contact).params.get("q")
        return float(q) if q and len(q) <= 5 and q.replace(".", "", 1).isdecimal() else 1.0
    except ValueError:
        return 1.0


def _by_the_same_transport(target: RemoteUri, home: RemoteUri) -> RemoteUri:
    """A redirect that names no transport means the trunk's, and none leads from TLS into the clear."""
    if target.transport == home.transport or (target.param("transport") is not None and home.transport != "tls"):
        return target
    others = tuple(param for param in target.params if param.partition("=")[0].lower() != "transport")
    return replace(target, params=(*others, f"transport={home.transport}"))


def _challenges(response: Response) -> list[Challenge]:
    server = [one for value in response.all("WWW-Authenticate") for one in read_challenges(value, proxy=False)]
    return server + [one for value in response.all("Proxy-Authenticate") for one in read_challenges(value, proxy=True)]
