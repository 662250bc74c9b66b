"""Who may be heard in a call: one sender of RTP, found after each negotiation (RFC 4961, RFC 7362 §4).

Without it anybody who sends packets to a call's port is heard, and PJMEDIA sends our audio there.
"""

from __future__ import annotations

import time
from typing import Final

from engine.messages.settings import RtpSourceRule
from engine.pjsip.rtp_sockets import Endpoint, RtpPair

_PREFERENCE_S: Final = 0.2
"""How long the very address and port of the SDP may still come when another port or the peer was heard first."""
_UNSPECIFIED: Final = ("0.0.0.0", "::", "")

_learning: list[RtpSource] = []


class RtpSource:
    """The filter of one call's sockets.

    Until there is an answer nothing is taken. After each negotiation the SDP's address and the signalling peer's are,
    whatever the port: a far end behind NAT does not know its public address. The first that is heard is then
    the only one, by address and port, until the next negotiation. The SDP's own address and port come first when both
    are heard within 200 ms. With the rule ``any`` everybody is taken.

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
        """The far end has answered for good: what was heard before may have been another's ringing tone."""
        if self._negotiated is not None:
            self.negotiated(*self._negotiated)

    def hear_peer(self, ip: str) -> None:
        """Signalling came from this address."""
        if ip != self._peer:
            self._peer = ip
            if self in _learning:
                self._take_candidates()

    def ended(self) -> None:
        """The stream is over, as on hold: nobody is heard until the next."""
        self._negotiated = None
        self._forget()
        self.pair.drop_all()

    def close(self) -> None:
        """The call is over."""
        self._forget()
        self.pair.close()

    def learn(self, now_s: float) -> None:
        """Settle on a sender if one is heard."""
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
    """Look who is heard first; to be called before PJMEDIA reads."""
    if _learning:
        now_s = time.monotonic()
        for source in _learning.copy():
            source.learn(now_s)
