"""Session descriptions (RFC 8866) as PJSIP writes them, made what one trunk speaks; and what an offer has of that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_AUDIO = re.compile(r"^m=audio (\d+) \S+ ([\d ]+)", re.MULTILINE)
_MAP = re.compile(r"^a=rtpmap:(\d+) ([^/\s]+)/", re.MULTILINE)
_STATIC: Final = {"0": "PCMU", "8": "PCMA", "9": "G722"}  # RFC 3551 §6
CODECS: Final = tuple(_STATIC.values())
"""All that is spoken."""
_EVENT = re.compile(r"^a=rtpmap:(\d+) telephone-event/", re.MULTILINE)
_EVENT_TYPE: Final = "101"


def with_codecs(sdp: str, codecs: Sequence[str]) -> str:
    """``sdp`` with these codecs alone, in this order; what is no codec (telephone-event) stays, behind them."""
    names = dict(_MAP.findall(sdp))
    audio = _AUDIO.search(sdp)
    if audio is None:
        return sdp
    types = audio[2].split()
    spoken = [one for codec in codecs for one in types if names.get(one, _STATIC.get(one)) == codec]
    kept = [*spoken, *(one for one in types if names.get(one) == "telephone-event")]
    dropped = "|".join(one for one in types if one not in kept)
    sdp = f"{sdp[: audio.start(2)]}{' '.join(kept)}{sdp[audio.end(2) :]}"
    return re.sub(rf"^a=(?:rtpmap|fmtp):(?:{dropped}) .*\n", "", sdp, flags=re.MULTILINE) if dropped else sdp


def has_codec(sdp: str, codecs: Sequence[str]) -> bool:
    """Whether an offer has audio that can be answered."""
    names = {**_STATIC, **dict(_MAP.findall(sdp))}
    return any(
        port != "0" and any(names.get(one, "").upper() in codecs for one in types.split())
        for port, types in _AUDIO.findall(sdp)
    )


def offer_events_as_101(sdp: str) -> str:
    """``sdp`` with 101 for its telephone-event's payload type.

    The far end is to send events under the type of our offer (RFC 3264 §6.1), but many send 101 whatever was offered.
    """
    event = _EVENT.search(sdp)
    if event is None or re.search(rf"^a=rtpmap:{_EVENT_TYPE} ", sdp, re.MULTILINE):
        return sdp
    uses = rf"^(m=audio \d+ \S+(?: \d+)*? |a=(?:rtpmap|fmtp):){event[1]}\b"
    return re.sub(uses, rf"\g<1>{_EVENT_TYPE}", sdp, flags=re.MULTILINE)
