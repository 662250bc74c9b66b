"""The RTP sockets of one leg, from dialling or the incoming call to its end."""

from __future__ import annotations

import ctypes
import ipaddress
import logging
from dataclasses import dataclass

import pjsua2 as pj

from engine.messages.link import PEER
from engine.messages.settings import RtpSourceRule
from engine.pjsip.rtp_sockets import RtpPorts
from engine.pjsip.rtp_source import RtpSource

log = logging.getLogger("trunkline.sip")

_PEER_FIELD = PEER.lower()
_MEDIA_TRANSPORT = 8
"""The offset of ``mediaTp`` in ``OnCreateMediaTransportParam``, a field that SWIG does not allow to be set."""


@dataclass(frozen=True, slots=True)
class RtpPlan:
    """How a leg gets its RTP."""

    ports: RtpPorts
    rule: RtpSourceRule


class LegRtp:
    """The RTP sockets of a leg. Each media line has its own; PJSUA asks for them when it needs them."""

    def __init__(self, plan: RtpPlan) -> None:
        self._plan = plan
        self._sources: dict[int, RtpSource] = {}
        self._reserved: RtpSource | None = None
        self.peer: str | None = None
        """The source address of the signalling, once it is known."""

    def reserve(self) -> None:
        """Open the sockets before the INVITE is made. Raises ``SipError`` when no port is free."""
        self._reserved = self._source()

    def carry(self, prm: pj.OnCreateMediaTransportParam) -> None:
        """Replace the sockets that PJSUA made for a media line by ours. Raises ``SipError``."""
        source = self._sources.get(prm.mediaIdx) or self._reserved or self._source()
        self._reserved = None
        self._sources[prm.mediaIdx] = source
        given = int(prm.mediaTp)
        taken = source.pair.carry(given)
        if taken != given:
            ctypes.c_void_p.from_address(int(prm.this) + _MEDIA_TRANSPORT).value = taken

    def heard(self, message: str) -> None:
        """A message of the far end came; the SIP edge names the signalling peer in X-Trunkline-Peer."""
        peer = _field(message, _PEER_FIELD)
        try:
            self.peer = str(ipaddress.ip_address(peer)) if peer else self.peer
        except ValueError:
            return
        if self.peer is not None:
            for one in self._sources.values():
                one.hear_peer(self.peer)

    def negotiated(self, index: int, remote: str) -> None:
        """The stream of a media line begins; ``remote`` is the address and port of its SDP."""
        if (source := self._sources.get(index)) is None:
            log.error("a stream does not use our sockets; it accepts RTP from any sender")
            return
        if self.peer is not None:
            source.hear_peer(self.peer)
        ip, _, port = remote.rpartition(":")
        source.negotiated(str(ipaddress.ip_address(ip.strip("[]"))), int(port))

    def answered(self) -> None:
        """The far end sent its final answer."""
        for source in self._sources.values():
            source.learn_again()

    def stream_ended(self, index: int) -> None:
        if source := self._sources.get(index):
            source.ended()

    def close(self) -> None:
        """The leg is over; a second call has no effect."""
        for source in (*self._sources.values(), self._reserved):
            if source is not None:
                source.close()
        self._sources.clear()
        self._reserved = None

    def _source(self) -> RtpSource:
        return RtpSource(self._plan.ports.pair(), self._plan.rule)


def _field(message: str, name: str) -> str:
    """The value of the first header field ``name`` (lower case), or ""."""
    for line in message.partition("\r\n\r\n")[0].split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() == name:
            return value.strip()
    return ""
