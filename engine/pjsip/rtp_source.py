"""The one accepted sender of RTP in a call, found after each negotiation (RFC 4961, RFC 7362 §4).

Without it, a call plays packets from anybody who sends to its port, and PJMEDIA sends our audio there.
"""

from __future__ import annotations

import time
from typing import Final

from engine.messages.settings import RtpSourceRule
from engine.pjsip.rtp_sockets import Endpoint, RtpPair

_PREFERENCE_S: Final = 0.2
"""How long to wait for the SDP's own address and port when another port or the peer was heard first."""
_UNSPECIFIED: Final = ("0.0.0.0", "::", "")

_learning: list[RtpSource] = []


class RtpSource:
    """The filter of one call's sockets.

    Until there is an answer, nothing is accepted. After each negotiation, the SDP's address and the signalling peer's
    address are accepted, with any port: a far end behind NAT does not know its public address. The first sender heard
    is then the only one, by address and port, until the next negotiation. The SDP's own address and port win when both
    are heard within 200 ms. With the rule ``any``, every sender is accepted.

    Our audio goes to the SDP's address until PJMEDIA has heard ten packets of the sender.
    """

    def __init__(self, pair: RtpPair, rule: RtpSourceRule) -> None:
        self.pair = pair
        self._rule = rule
        self._negotiated: Endpoint | None = None
        self._peer: str | None = None
        self._other: tuple[Endpoint, float] | None = None

    def negotiated(self, ip: str, port: int) -> None:
        """A stream with the far end's RTP address begins."""
        self._negotiated = ip, port
        self._other = None
        if self._rule == "any":
            self.pair.open()
            return
        self._take_candidates()
        if self not in _learning:
            _learning.append(self)

    def learn_again(self) -> None:
        """The far end sent its final answer: an earlier sender may have been another device's ringing tone."""
        if self._negotiated is not None:
            self.negotiated(*self._negotiated)

    def hear_peer(self, ip: str) -> None:
        """Signalling arrived from this address."""
        if ip != self._peer:
            self._peer = ip
            if self in _learning:
                self._take_candidates()

    def ended(self) -> None:
        """The stream is over, as on hold: nothing is accepted until the next one."""
        self._negotiated = None
        self._forget()
        self.pair.drop_all()

    def close(self) -> None:
        """The call is over."""
        self._forget()
        self.pair.close()

    def learn(self, now_s: float) -> None:
        """Choose the sender once one is heard."""
        sender = self.pair.sender()
        if sender is not None and sender == self._negotiated:
            self._lock(sender)
        elif sender is not None and self._other is None:
            self._other = sender, now_s + _PREFERENCE_S
        elif self._other is not None and now_s >= self._other[1]:
            self._lock(self._other[0])

    def _take_candidates(self) -> None:
        assert self._negotiated is not None
        ips = {ip for ip in (self._negotiated[0], self._peer) if ip and ip not in _UNSPECIFIED}
        self.pair.only_from_any(ips)

    def _lock(self, sender: Endpoint) -> None:
        self._forget()
        self.pair.only_from(*sender)

    def _forget(self) -> None:
        if self in _learning:
            _learning.remove(self)


def learn_sources() -> None:
    """Choose the senders of all calls; to be called before PJMEDIA reads."""
    if _learning:
        now_s = time.monotonic()
        for source in _learning.copy():
            source.learn(now_s)
