"""Odd media: session descriptions, early media, RTP, re-INVITEs, ends and telephone keys, one row each."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from engine.outcome import Cause, Party
from tests.sip.odd_carrier import SDP, FarCall, Rtp, packet
from tests.sip.odd_digest import accepts
from tests.sip.odd_rows import Ends, Row, answers, pause, plain, sound
from tests.sip.odd_signalling import HERE, digest
from tests.sip.peers import PASSWORD, USERNAME
from tests.sip.rtp import DIGITS

# -- session descriptions ----------------------------------------------------------------------------------------------


def body(name: str, sdp: str, *, kind: str = "application/sdp", trunk: str = "udp", speaks: bool = False) -> Row:
    """A 200 with that session description; the agent hears the far end."""
    script = answers(body=sdp, kind=kind, then=pause)
    heard = 0 if trunk == "wideband" else 0.92  # the tone is G.711's
    return Row(
        name=f"SDP: {name}", script=script, frames=plain, trunk=trunk, speaks=speaks, heard=heard, check=_sent_to
    )


def _sent_to(call: FarCall) -> None:
    """The far end got RTP; packets may be long."""
    assert len(call.rtp.packets) >= 8, f"{len(call.rtp.packets)} RTP packets for the far end"


def changed(name: str, old: str, new: str, **keys: str | bool) -> Row:
    assert old in SDP
    return body(name, SDP.replace(old, new), **keys)  # type: ignore[arg-type]


def unusable(name: str, sdp: str, says: str) -> Row:
    ends = Ends(cause=Cause.NOT_ACCEPTABLE, says=says)
    return Row(name=f"SDP: {name}", script=answers(body=sdp), ends=ends)


_PARTS: Final = (
    f"--x|Content-Type: application/sdp||{SDP}|--x|Content-Type: application/isup;version=itu-t92+|"
    "Content-Disposition: signal;handling=optional||\x01\x02\x03|--x--|"
)
_AUDIO: Final = "m=audio {rtp} RTP/AVP 0 101|"
_CRYPTO: Final = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{'A' * 40}|"

BODIES: Final = (
    body("multipart with ISUP", _PARTS, kind='multipart/mixed; boundary="x"'),
    body("type in capitals with a charset", SDP, kind="Application/SDP; charset=utf-8"),
    body("LF only", SDP.replace("|", "\n")),
    body("c= in the media", SDP.replace("c=IN IP4 127.0.0.1|", "") + "c=IN IP4 127.0.0.1|"),
    changed("c= with a name", "c=IN IP4 127.0.0.1", "c=IN IP4 localhost"),
    changed("no rtpmap", "a=rtpmap:0 PCMU/8000|", ""),
    changed("pcmu", "PCMU/8000", "pcmu/8000"),
    changed("PCMU/8000/1", "PCMU/8000", "PCMU/8000/1"),
    changed("ptime 0", "ptime:20", "ptime:0"),
    changed("ptime 20.0", "ptime:20", "ptime:20.0"),
    changed("ptime 60", "ptime:20", "ptime:60", speaks=True),
    changed("ptime 200", "ptime:20", "ptime:200", speaks=True),
    changed("ptime 260", "ptime:20", "ptime:260", speaks=True),
    body("video 0 after the audio", SDP + "m=video 0 RTP/AVP 31|"),
    body("an image after the audio", SDP + "m=image 0 udptl t38|"),
    changed("video 0 before the audio", _AUDIO, f"m=video 0 RTP/AVP 31|{_AUDIO}"),
    changed("ICE, rtcp-mux and mid", _AUDIO, f"a=ice-ufrag:x|{_AUDIO}a=mid:0|a=rtcp-mux|a=candidate:1 1 UDP 1 ::1 9|"),
    changed("b= before c=", "c=IN", "b=AS:64|c=IN"),
    changed("unknown lines", "t=0 0|", "t=0 0|q=what|y=0|a|a=|=|"),
    body("80 attributes", SDP + "".join(f"a=x-{at}:y|" for at in range(80))),
    changed("no t=", "t=0 0|", ""),
    changed("14 digits in o=", "carrier 1 1", "carrier 12345678901234 12345678901234"),
    changed("20 digits in o=", "carrier 1 1", "carrier 12345678901234567890 99999999999999999999"),
    changed("blanks in o=", "o=carrier", "o=the odd carrier"),
    changed("RTP/AVPF", "RTP/AVP", "RTP/AVPF"),
    changed("RTP/SAVP with a=crypto", _AUDIO, _AUDIO.replace("AVP", "SAVP") + _CRYPTO),
    changed("empty s=", "s=-", "s="),
    changed("no s=", "s=-|", ""),
    body("of 5,000 bytes", SDP + "".join(f"a=x-filler-{at}:{'y' * 40}|" for at in range(90))),
    body(
        "G722 with events at 16 kHz",
        SDP.replace("0 101", "9 101").replace("0 PCMU/8000", "9 G722/8000").replace("event/8000", "event/16000"),
        trunk="wideband",
    ),
    body(
        "G722 with ptime 260",
        SDP.replace("0 101", "9").replace("0 PCMU", "9 G722").replace("20|", "260|"),
        trunk="wideband",
    ),
    unusable("none", "", "it has no session description"),
    unusable("nonsense", "v=0|hello|", "no m= line"),
    unusable("no audio", SDP.replace("m=audio", "m=video"), "it has no audio"),
    unusable("another codec", SDP.replace("0 101", "18").replace("0 PCMU", "18 G729"), "codecs"),
)

# -- early media -------------------------------------------------------------------------------------------------------


def early(name: str, first: str, second: str, *, moves: bool = False, tag: str | None = None, law: int = 0) -> Row:
    """183 with an SDP, 200 with another; the far end sends what the second one says."""

    async def script(call: FarCall) -> None:
        call.respond("180 Ringing")
        call.respond("183 Session Progress", body=first)
        await asyncio.sleep(0.4)
        call.respond("200 OK", body=second, tag=tag)
        await call.wait_for("ACK")
        call.rtp.silence()
        sender = call.other if moves else call.rtp
        sender.stream(lambda at: [packet(at, sound(at, law), payload_type=law, ssrc=9)], call.media)
        await asyncio.sleep(2.5)
        if moves:
            assert len(call.other.packets) > 100, "RTP does not go to the answer's port"

    return Row(name=f"183, then 200: {name}", script=script, frames=plain, speaks=True)


_OTHER: Final = SDP.replace("{rtp}", "{other}").replace("carrier 1 1", "carrier 1 2")
_PCMA: Final = SDP.replace("AVP 0", "AVP 8").replace("0 PCMU", "8 PCMA").replace("carrier 1 1", "carrier 1 2")

EARLY: Final = (
    early("the same", SDP, SDP),
    early("another port", SDP, _OTHER, moves=True),
    early("another codec", SDP, _PCMA, law=8),
    early("another codec and port", SDP, _PCMA.replace("{rtp}", "{other}"), moves=True, law=8),
    early("inactive, then active", f"{SDP}a=inactive|", SDP.replace("carrier 1 1", "carrier 1 2")),
    early("sendonly, then active", f"{SDP}a=sendonly|", SDP.replace("carrier 1 1", "carrier 1 2")),
    early("0.0.0.0, then active", SDP.replace("127.0.0.1|t", "0.0.0.0|t"), SDP.replace("carrier 1 1", "carrier 1 2")),
    early("another tag", SDP, SDP, tag="second-fork"),
    early("no SDP in the 200", SDP, ""),
)

# -- RTP ---------------------------------------------------------------------------------------------------------------

_STUN: Final = struct.pack("!HHI12s", 1, 0, 0x2112A442, bytes(12))
_RTCP: Final = struct.pack("!BBHI", 0x80, 201, 1, 7)


def sends(
    name: str, frames: Callable[[int], Iterable[bytes]], *, heard: float = 0.92, sdp: str = SDP, s: float = 3
) -> Row:
    async def wait(call: FarCall) -> None:
        await asyncio.sleep(s)

    return Row(name=f"RTP: {name}", script=answers(body=sdp, then=wait), frames=frames, heard=heard)


def _keep_alives(at: int) -> list[bytes]:
    return [packet(at, sound(at)), *((_STUN, _RTCP, b"\r\n", b"\0", b"") if at % 10 == 0 else ())]


def _long(at: int) -> list[bytes]:
    return [packet(at // 3, sound(at) + sound(at + 1) + sound(at + 2), timestamp=160 * at)] if at % 3 == 0 else []


def _short(at: int) -> list[bytes]:
    halves = (sound(at)[:80], sound(at)[80:])
    return [packet(2 * at + half, data, timestamp=160 * at + 80 * half) for half, data in enumerate(halves)]


async def _stranger(call: FarCall) -> None:
    """Bursts from another address while the far end sends: nothing of the call goes there."""
    stranger = await Rtp.open("127.0.0.66")
    try:
        stranger.stream(lambda at: [packet(15 * at + one, bytes(160), ssrc=66) for one in range(15)], call.media)
        await asyncio.sleep(3)
        assert not stranger.packets, f"a stranger got {len(stranger.packets)} packets"
    finally:
        stranger.close()


async def _slow_second_source(call: FarCall) -> None:
    call.other.stream(lambda at: [packet(at, bytes(160), ssrc=5)] if at % 25 == 0 else [], call.media)
    await asyncio.sleep(3)


_BOTH: Final = SDP.replace("0 101", "0 8 101").replace("a=fmtp", "a=rtpmap:8 PCMA/8000|a=fmtp")

RTP: Final = (
    sends("another SSRC", lambda at: [packet(at, sound(at), ssrc=7 if at < 60 else 9)]),
    sends("sequence forwards", lambda at: [packet(at, sound(at), sequence=at + (1000 if at >= 60 else 0))]),
    sends("sequence backwards", lambda at: [packet(at, sound(at), sequence=5000 + at - (500 if at >= 60 else 0))]),
    sends("sequence wraps", lambda at: [packet(at, sound(at), sequence=65_500 + at)]),
    sends("timestamp jumps", lambda at: [packet(at, sound(at), timestamp=160 * at + (28_800_000 if at >= 60 else 0))]),
    sends("16 kHz clock", lambda at: [packet(at, sound(at), timestamp=320 * at)]),
    sends("an extension", lambda at: [packet(at, sound(at), flags=0x10, extra=b"\xbe\xde\0\1\0\0\0\0")]),
    sends("CSRC", lambda at: [packet(at, sound(at), flags=0x02, extra=bytes(8))]),
    sends("padding", lambda at: [packet(at, sound(at), flags=0x20, padding=b"\0\0\0\4")]),
    sends("marker always", lambda at: [packet(at, sound(at), marker=True)]),
    sends("twice", lambda at: [packet(at, sound(at))] * 2),
    sends("keep-alives on its port", _keep_alives),
    sends("60 ms unannounced", _long),
    sends("10 ms unannounced", _short),
    sends("comfort noise alone", lambda at: [packet(at, b"\x7f", payload_type=13)] if at % 10 == 0 else [], heard=0),
    sends(
        "old comfort noise alone", lambda at: [packet(at, b"\x7f", payload_type=19)] if at % 10 == 0 else [], heard=0
    ),
    sends("unknown types alone", lambda at: [packet(at, bytes(20), payload_type=18)], heard=0),
    sends("the answer's second codec", lambda at: [packet(at, sound(at, 8), payload_type=8)], sdp=_BOTH, s=4),
    sends(
        "another codec in mid-call",
        lambda at: [packet(at, sound(at, 8 * (at >= 100)), payload_type=8 * (at >= 100))],
        sdp=_BOTH,
        s=5.5,
    ),
    Row(name="RTP: a stranger's bursts", script=answers(then=_stranger), frames=plain, speaks=True),
    Row(name="RTP: a second slow source", script=answers(then=_slow_second_source), frames=plain),
)

# -- requests in mid-call ----------------------------------------------------------------------------------------------


def mid_call(name: str, act: Callable[[FarCall], Awaitable[None]], **keys: object) -> Row:
    """``act`` is done in an answered call; both sides go on hearing each other."""

    async def then(call: FarCall) -> None:
        await asyncio.sleep(0.3)
        await act(call)
        await pause(call)

    return Row(name=f"mid-call: {name}", script=answers(then=then), frames=plain, **keys)  # type: ignore[arg-type]


def reinvites(name: str, sdp: str, status: int, *, contact: str = f"<sip:callee@{HERE}>", **keys: object) -> Row:
    async def act(call: FarCall) -> None:
        response = await call.reinvite(body=sdp, contact=contact)
        assert response.status == status, response.start_line

    return mid_call(name, act, **keys)


def asks(method: str, status: int, *fields: str, content: str = "", kind: str = "text/plain") -> Row:
    async def act(call: FarCall) -> None:
        response = await call.response_to(call.request(method, *fields, body=content, kind=kind))
        assert response.status == status, response.start_line

    return mid_call(f"{method} {kind if content else ''}", act)


def updates(name: str, contact: str) -> Row:
    async def act(call: FarCall) -> None:
        response = await call.response_to(call.request("UPDATE", contact=contact))
        assert response.status == 200, response.start_line

    return mid_call(name, act)


async def _port_0_and_back(call: FarCall) -> None:
    await call.reinvite(body=SDP.replace("{rtp}", "0"))
    await call.reinvite(body=SDP.replace("carrier 1 1", "carrier 1 2"))


async def _races_the_ack(call: FarCall) -> None:
    call.respond("200 OK", body=SDP)
    reinvite, options = call.request("INVITE", body=SDP), call.request("OPTIONS")
    await call.response_to(options)
    response = await call.response_to(reinvite)
    call.request("ACK", cseq=int(reinvite.split()[0]))
    assert response.status in (200, 491, 500), response.start_line
    await call.wait_for("ACK")


async def _updates_before_the_answer(call: FarCall) -> None:
    call.respond("183 Session Progress", body=SDP)
    response = await call.response_to(call.request("UPDATE"))
    assert response.status in (200, 491, 500, 504), response.start_line
    call.respond("200 OK", body=SDP)


def held_first(direction: str) -> Row:
    async def resume(call: FarCall) -> None:
        await asyncio.sleep(2.0)
        assert not call.rtp.packets, "RTP while on hold"
        await call.reinvite(body=SDP.replace("carrier 1 1", "carrier 1 2"))
        await pause(call)

    script = answers(body=f"{SDP}a={direction}|", then=resume)
    return Row(name=f"mid-call: {direction} first", script=script, frames=plain, speaks=True)


_T38: Final = "v=0|o=carrier 1 2 IN IP4 127.0.0.1|s=-|c=IN IP4 127.0.0.1|t=0 0|{audio}m=image {other} udptl t38|"
_G722_260: Final = SDP.replace("0 101", "9").replace("0 PCMU", "9 G722").replace("ptime:20", "ptime:260")

MID_CALL: Final = (
    reinvites("the same version", SDP, 200),
    reinvites("T.38", _T38.replace("{audio}", ""), 488),
    reinvites("T.38 with audio 0", _T38.replace("{audio}", "m=audio 0 RTP/AVP 0|"), 488),
    reinvites("video added", SDP + "m=video {other} RTP/AVP 31|", 200),
    reinvites("an unreadable SDP", "v=0|nonsense|", 488),
    reinvites("G722 of 260 ms", _G722_260, 200, trunk="wideband", heard=0),
    *(
        reinvites(f"Contact {contact[:30]}", SDP, 200, contact=contact)
        for contact in (
            "<tel:+14155550123>",
            "<sip:callee@[::1]:{sip}>",
            f"<sips:callee@{HERE}>",
            f"<sip:callee@{'a' * 254}>",
            "<sip:callee@pbx.invalid>",
        )
    ),
    updates("UPDATE with maddr", f"<sip:callee@{HERE};maddr={'a' * 254}>"),
    updates("UPDATE with tel", "<tel:+1>"),
    mid_call("audio port 0 and back", _port_0_and_back),
    held_first("inactive"),
    held_first("sendonly"),
    asks("OPTIONS", 200),
    asks("NOTIFY", 405, "Event: refer", "Subscription-State: active", content="x"),
    asks("MESSAGE", 405, content="x"),
    asks("SUBSCRIBE", 405, "Event: presence"),
    asks("PUBLISH", 405, "Event: presence"),
    asks("REFER", 405, "Refer-To: <sip:x@y>"),
    asks("INFO", 200),
    asks("INFO", 415, content="event play", kind="application/broadsoft"),
    asks("INFO", 415, content="<media_control/>", kind="application/media_control+xml"),
    Row(name="mid-call: a re-INVITE and OPTIONS before the ACK", script=_races_the_ack),
    Row(name="mid-call: UPDATE before the answer", script=_updates_before_the_answer),
)

# -- ends --------------------------------------------------------------------------------------------------------------


async def _byes_before_the_ack(call: FarCall) -> None:
    call.respond("200 OK", body=SDP)
    await call.response_to(call.request("BYE"))
    await call.wait_for("ACK")


async def _byes(call: FarCall) -> None:
    reasons = ("Reason: SIP;cause=200", 'Reason: Q.850;cause=16;text="bye, now", X.1;cause=9')
    response = await call.response_to(call.request("BYE", *reasons))
    assert response.status == 200


async def _challenges_bye(call: FarCall) -> None:
    call.answers["BYE"] = f"407 Who|{digest(name='Proxy-Authenticate')}|then|200 OK"


def _bye_was_answered(call: FarCall) -> None:
    assert accepts(call.requests("BYE")[1], USERNAME, PASSWORD) == 1


_CALLEE_HUNG_UP: Final = Ends(cause=Cause.CALLEE_HANGUP, by=Party.CALLEE)
ENDS: Final = (
    Row(name="end: BYE before the ACK", script=_byes_before_the_ack, ends=_CALLEE_HUNG_UP),
    Row(
        name="end: several Reasons",
        script=answers(then=_byes),
        ends=Ends(cause=Cause.CALLEE_HANGUP, by=Party.CALLEE, q850=16),
    ),
    Row(name="end: 407 to BYE", script=answers(then=_challenges_bye), byes=2, check=_bye_was_answered),
)

# -- telephone keys ----------------------------------------------------------------------------------------------------


def event(
    digit: str,
    *,
    timestamp: int,
    moves: int = 0,
    ends: int = 3,
    order: tuple[int, ...] = tuple(range(8)),
    duration: int = 160,
) -> list[tuple[bytes, int]]:
    """The payloads and timestamps of a key's eight packets; ``order`` leaves out, repeats or reorders them."""
    code = DIGITS.index(digit) if digit in DIGITS else 16  # a flash
    packets = []
    for index in range(8):
        flags = 0x80 if index >= 8 - ends else 0
        payload = struct.pack("!BBH", code, flags | 10, duration * min(index + 1, 6))
        packets.append((payload, timestamp + moves * index))
    return [packets[index] for index in order]


class Keys:
    """A stream with keys in it, the first after half a second, one each 300 ms."""

    def __init__(self, *keys: list[tuple[bytes, int]], audio: bool = True) -> None:
        self._keys = keys
        self._audio = audio
        self._sequence = 0

    def __call__(self, at: int) -> list[bytes]:
        number, tick = divmod(at - 25, 15)
        pressed = self._keys[number] if 0 <= number < len(self._keys) else []
        at_once = len(pressed) > 8  # a key of many segments
        due = (pressed if tick == 0 else []) if at_once else pressed[tick : tick + 1]
        packets = [self._next(payload, timestamp, 101, first=tick == 0) for payload, timestamp in due]
        if not due and (self._audio or at < 25):
            packets.append(self._next(sound(at), 160 * at, 0))
        return packets

    def _next(self, payload: bytes, timestamp: int, payload_type: int, *, first: bool = False) -> bytes:
        self._sequence += 1
        return packet(0, payload, payload_type=payload_type, sequence=self._sequence, timestamp=timestamp, marker=first)


def held_key(digit: str, timestamp: int, segments: int = 2) -> list[tuple[bytes, int]]:
    """RFC 4733 §2.5.1.3."""
    packets = []
    for segment in range(segments):
        for duration in (400, 20_000, 40_000, 60_000, 65_535):
            end = 0x80 if (segment, duration) == (segments - 1, 65_535) else 0
            payload = struct.pack("!BBH", DIGITS.index(digit), end | 10, duration)
            packets.append((payload, timestamp + 65_535 * segment))
    return packets


def presses(name: str, keys: str, frames: Keys, then: Callable[[FarCall], Awaitable[None]] = pause) -> Row:
    return Row(name=f"keys: {name}", script=answers(then=then), frames=frames, heard=0, keys=keys)


def by_info(name: str, content: str, kind: str) -> Row:
    async def then(call: FarCall) -> None:
        await asyncio.sleep(1)
        response = await call.response_to(call.request("INFO", body=content, kind=kind))
        assert response.status == 200, response.start_line

    return Row(name=f"keys: {name}", script=answers(then=then), keys="7")


async def _info_too(call: FarCall) -> None:
    await asyncio.sleep(0.6)
    for digit in "12":
        cseq = call.request("INFO", body=f"Signal={digit}|Duration=160|", kind="application/dtmf-relay")
        await call.response_to(cseq)
        await asyncio.sleep(0.25)
    await asyncio.sleep(1.5)


_AT: Final = (8000, 16_000, 24_000, 32_000)
_REORDERED: Final = (0, 1, 2, 3, 4, 6, 5, 7)
_ONE_AND_TWO: Final = (event("1", timestamp=_AT[0]), event("2", timestamp=_AT[1]))


def _late_ends(digit: str, timestamp: int) -> list[tuple[bytes, int]]:
    return [(payload, at + 800 * (index >= 6)) for index, (payload, at) in enumerate(event(digit, timestamp=timestamp))]


def _both(**keys: object) -> Keys:
    return Keys(*(event(digit, timestamp=at, **keys) for digit, at in zip("12", _AT, strict=False)))  # type: ignore[arg-type]


KEYS: Final = (
    presses("the timestamp moves", "12", _both(moves=160)),
    presses("one timestamp for all", "1122", Keys(*(event(digit, timestamp=8000) for digit in "1122"))),
    presses("held for 16 s in segments", "12", Keys(held_key("1", 8000), event("2", timestamp=400_000))),
    presses("by event and by INFO", "12", Keys(*_ONE_AND_TWO), then=_info_too),
    presses("end packets reordered", "12", _both(order=_REORDERED)),
    presses("no end packets", "12", _both(ends=0)),
    presses("end packets only", "12", _both(order=(5, 6, 7))),
    presses("duration 0", "12", _both(duration=0)),
    presses("other timestamps in the last ends", "12", Keys(_late_ends("1", _AT[0]), _late_ends("2", _AT[1]))),
    presses("a flash between", "12", Keys(_ONE_AND_TWO[0], event("flash", timestamp=12_000), _ONE_AND_TWO[1])),
    presses("audio stops", "12", Keys(*_ONE_AND_TWO, audio=False)),
    by_info("INFO with LF", "Signal=7\nDuration=160\n", "application/dtmf-relay"),
    by_info("INFO with blanks", "Signal = 7|Duration = 160|", "application/dtmf-relay"),
    by_info("INFO with its type in capitals", "Signal=7|Duration=160|", "APPLICATION/DTMF-RELAY"),
    by_info("INFO with a bare key", "7", "application/dtmf"),
)
