"""The RTP and RTCP counters of a leg's streams (RFC 3550 §6.4), added up over renegotiations."""

from __future__ import annotations

import pjsua2 as pj

from engine.sip.other_codec import Received


def received(stat: pj.StreamStat) -> Received:
    """The counters of a stream's received packets."""
    heard = stat.rtcp.rxStat
    return Received(packets=heard.pkt, payload_bytes=heard.bytes)


class RtpCounters:
    """Adds up a leg's streams. The call's record shows ``total`` as ``media``."""

    def __init__(self) -> None:
        self.total: dict[str, int] = {}

    def add(self, stat: pj.StreamStat) -> None:
        """A stream has ended with these counters."""
        heard, sent, buffered = stat.rtcp.rxStat, stat.rtcp.txStat, stat.jbuf
        for name, value in (
            ("rtp_received", heard.pkt),
            ("rtp_lost", heard.loss),
            ("rtp_late", heard.discard),
            ("rtp_reordered", heard.reorder),
            ("rtp_duplicated", heard.dup),
            ("rtp_sent", sent.pkt),
            ("rtp_lost_there", sent.loss),
            ("rtcp_received", sent.updateCount),
            ("jitter_buffer_empty", buffered.empty),
        ):
            self.total[name] = self.total.get(name, 0) + value
        self.total["jitter_max_us"] = max(self.total.get("jitter_max_us", 0), heard.jitterUsec.max)
