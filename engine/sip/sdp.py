"""Session descriptions (RFC 8866): a far end's is read leniently and rewritten for PJSIP; PJSIP's is adapted to the
trunk.

``read`` and ``clean`` take time in proportion to the text, which is bounded. No line of a far end reaches PJSIP as the
far end wrote it.
"""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

_STATIC: Final = {"0": "PCMU", "8": "PCMA", "9": "G722"}  # RFC 3551 §6
CODECS: Final = tuple(_STATIC.values())
"""All supported codecs."""
_RATES_HZ: Final = {"PCMU": ("8000",), "PCMA": ("8000",), "G722": ("8000", "16000")}  # 16000: RFC 3551 §4.5.2's trap
_UNMAPPED: Final = {one: f"{name}/8000" for one, name in {**_STATIC, "13": "CN", "19": "CN"}.items()}
"""The meaning of a payload type without an rtpmap; 19 is comfort noise in RFC 3389's drafts."""
_EVENT: Final = "telephone-event"
_EVENT_TYPE: Final = "101"

_MAX_FORMATS: Final = 16

MAX_BYTES: Final = 65_536
MAX_LINES: Final = 512
MAX_SECTIONS: Final = 16
_MAX_CRYPTO: Final = 8
_MAX_LINE: Final = 256
_MAX_TYPE: Final = 127
_PTIME_MS: Final = (10, 60)
"""PJMEDIA's frames of these codecs last 10 ms. From 186 ms on its G.722 aborts the process, from 200 ms on it sends no
G.711, and 16 frames are the most that it takes from a packet. The far end's wish is a preference (RFC 8866 §6.4)."""
_TOKEN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./+")
_HOST: Final = _TOKEN - frozenset("/+")
_BASE64: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=|:^")
_EVENTS: Final = frozenset("0123456789,-")
_RTP: Final = ("RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF")
_DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")
_NOT_RECEIVING: Final = {"sendrecv": "sendonly", "recvonly": "inactive"}
_NOWHERE: Final = "0.0.0.0"  # RFC 3264 §8.4: a far end that is to be sent nothing


class Unreadable(ValueError):
    """A body without a usable session description; the error's text is a sentence that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The origin of a description and its version (RFC 8866 §5.2). Both numbers are below 2^31, because PJSIP has 32
    bits. Two successive versions still differ."""

    session: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class Connection:
    """Where media is to be sent (RFC 8866 §5.7): an IP address as ``ipaddress`` writes it, or a host name."""

    host: str
    is_name: bool = False

    @property
    def receives(self) -> bool:
        """Whether media may be sent there: not to an unspecified address (RFC 3264 §8.4), a group, or everybody."""
        if self.is_name:
            return True
        address = ipaddress.ip_address(self.host)
        return not (address.is_unspecified or address.is_multicast or self.host == "255.255.255.255")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One ``m=`` line (RFC 8866 §5.14) with the lines below it; ``port`` is 0 when the stream is refused.

    ``attributes`` are pairs of name, in lower case, and value; those of the session follow.
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    connection: Connection | None
    attributes: tuple[tuple[str, str], ...] = ()

    @cached_property
    def maps(self) -> Mapping[str, tuple[str, str]]:
        """Of each format that is used here: the codec, ``telephone-event`` or ``CN``, and its rate in Hz as text."""
        written: dict[str, str] = {}
        for name, value in self.attributes:
            if name == "rtpmap":
                payload_type, _, encoding = value.partition(" ")
                written.setdefault(payload_type, encoding.strip())
        types = (one for one in self.formats if str(_number(one, _MAX_TYPE)) == one)
        spoken = ((one, _codec(written.get(one, _UNMAPPED.get(one, "")))) for one in types)
        return {one: mapped for one, mapped in spoken if mapped is not None}

    @property
    def live(self) -> bool:
        """Whether it is audio over RTP that is not refused."""
        return self.kind == "audio" and self.port > 0 and self.protocol in _RTP

    @property
    def direction(self) -> str:
        """The direction from the far end's view (RFC 3264 §5.1): ``recvonly`` means that the far end only receives."""
        written = next((name for name, _ in self.attributes if name in _DIRECTIONS), "sendrecv")
        receives = self.connection is not None and self.connection.receives
        return written if receives else _NOT_RECEIVING.get(written, written)

    def first(self, name: str) -> str:
        """The value of the first attribute ``name``; empty without one."""
        return next((value for each, value in self.attributes if each == name), "")


@dataclass(frozen=True, kw_only=True)
class SessionDescription:
    """A far end's offer or answer."""

    origin: Origin
    sections: tuple[Section, ...]

    @cached_property
    def audio(self) -> Section | None:
        """The audio that a call can use: the first with a supported codec."""
        live = [section for section in self.sections if section.live and section.connection is not None]
        return next((it for it in live if any(name in CODECS for name, _ in it.maps.values())), None)

    @property
    def codecs(self) -> tuple[str, ...]:
        """The codecs of ``audio``, in the far end's order, each once."""
        return () if self.audio is None else _codecs(self.audio)

    @property
    def without_audio(self) -> str | None:
        """The reason why there is no ``audio``, as a sentence."""
        if self.audio is not None:
            return None
        sections = [section for section in self.sections if section.kind == "audio"]
        if not sections:
            return "it has no audio"
        if all(section.port == 0 for section in sections):
            return "its audio is refused, or has a port that does not exist"
        live = [section for section in sections if section.live]
        if not live:
            return "its audio uses a protocol that is not supported"
        if all(section.connection is None for section in live):
            return "its audio has no address"
        return "its audio has no supported codec"

    @property
    def telephone_event_type(self) -> int | None:
        """The payload type of RFC 4733 events in ``audio``."""
        found = None if self.audio is None else _event_format(self.audio)
        return None if found is None else int(found)

    @property
    def host_to_resolve(self) -> str | None:
        """The name in place of an address of ``audio``: ``clean`` needs ``with_address`` first."""
        connection = None if self.audio is None else self.audio.connection
        return connection.host if connection is not None and connection.is_name else None

    def with_address(self, address: str) -> SessionDescription:
        """This description with ``address`` for each ``host_to_resolve``. Raises ``ValueError`` for no IP address."""
        name, found = self.host_to_resolve, Connection(str(ipaddress.ip_address(address)))
        return replace(
            self,
            sections=tuple(
                replace(section, connection=found)
                if section.connection is not None and section.connection.host == name
                else section
                for section in self.sections
            ),
        )


def read(body: bytes) -> SessionDescription:
    """Read a far end's description. Raises ``Unreadable``.

    Lines that RFC 8866 requires may be missing, unknown lines are skipped, and lines may end in LF.
    """
    if len(body) > MAX_BYTES:
        raise Unreadable(f"the session description is longer than {MAX_BYTES} bytes")
    if body.count(b"\n") > MAX_LINES:
        raise Unreadable(f"the session description has more than {MAX_LINES} lines")
    parts = _parts(body.decode("utf-8", "replace"))
    above = next(parts)
    below = list(parts)
    if not below:
        raise Unreadable("the session description has no audio: there is no m= line")
    if len(below) > MAX_SECTIONS:
        raise Unreadable(f"the session description has more than {MAX_SECTIONS} media")
    connection, attributes = _connection(above), _attributes(above)
    origin = next((_origin(value) for letter, value in above if letter == "o"), Origin())
    return SessionDescription(origin=origin, sections=tuple(_section(lines, connection, attributes) for lines in below))


def clean(description: SessionDescription, *, offered: Sequence[str] | None = None) -> bytes:
    """The description rewritten for PJSIP. Raises ``Unreadable`` while a host name is not resolved.

    It has those lines of ``audio`` that PJMEDIA uses; every other stream is written as refused. An offer keeps all
    streams in their order (RFC 3264 §6). An answer gets the streams that our offer had; their kinds are ``offered``.
    """
    audio = description.audio
    if description.host_to_resolve is not None:
        raise Unreadable("the address of the far end's audio is a host name that was not resolved")
    sections: Sequence[Section] = description.sections
    if offered is not None:
        sections = list(_in_the_order_of(offered, sections, audio))
    connection = None if audio is None else audio.connection
    address = connection.host if connection is not None and connection.receives else _NOWHERE
    family = "IP6" if ":" in address else "IP4"
    lines = [
        "v=0",
        f"o=- {description.origin.session} {description.origin.version} IN {family} {address}",
        "s=-",
        f"c=IN {family} {address}",
        "t=0 0",
    ]
    for section in sections:
        lines += _audio_lines(section) if section is audio else [_refused(section)]
    return ("\r\n".join(lines) + "\r\n").encode()


def with_codecs(sdp: str, codecs: Sequence[str]) -> str:
    """``sdp`` with only these codecs, in this order. Formats that are no codec (telephone-event) stay behind them."""
    lines = sdp.split("\n")
    at = next((index for index, line in enumerate(lines) if line.startswith("m=audio ")), None)
    if at is None:
        return sdp
    words, ending = _media_words(lines[at])
    types, names = words[3:], {**_STATIC, **_written_names(lines)}
    spoken = [one for codec in codecs for one in types if names.get(one, "").upper() == codec]
    kept = [*spoken, *(one for one in types if names.get(one, "").lower() == _EVENT)]
    dropped = set(types) - set(kept)
    lines[at] = " ".join([*words[:3], *kept]) + ending
    return "\n".join(line for line in lines if _described_type(line) not in dropped)


def has_codec(sdp: str, codecs: Sequence[str]) -> bool:
    """Whether an offer has audio that can be answered."""
    try:
        sections = read(sdp.encode("utf-8", "replace")).sections
    except Unreadable:
        return False
    return any(codec in codecs for section in sections if section.live for codec in _codecs(section))


def has_plain_audio(sdp: bytes) -> bool:
    """Whether there is audio over RTP without encryption (RTP/AVP or RTP/AVPF)."""
    media = (line.split() for line in sdp.split(b"\n") if line.startswith(b"m=audio "))
    return any(line[2:3] in ([b"RTP/AVP"], [b"RTP/AVPF"]) for line in media)


def offer_events_as_101(sdp: str) -> str:
    """``sdp`` with 101 for its telephone-event's payload type.

    The far end is to send events under the type of our offer (RFC 3264 §6.1), but many send 101 whatever was offered.
    """
    lines = sdp.split("\n")
    names = _written_names(lines)
    event = next((one for one, name in names.items() if name == _EVENT), None)
    if event is None or _EVENT_TYPE in names:
        return sdp
    for index, line in enumerate(lines):
        if line.startswith("m=audio "):
            words, ending = _media_words(line)
            types = [_EVENT_TYPE if one == event else one for one in words[3:]]
            lines[index] = " ".join([*words[:3], *types]) + ending
        elif _described_type(line) == event:
            name, _, rest = line.partition(":")
            lines[index] = f"{name}:{_EVENT_TYPE}{rest[len(event) :]}"
    return "\n".join(lines)


# -- reading -----------------------------------------------------------------------------------------------------------

_Lines = list[tuple[str, str]]


def _parts(text: str) -> Iterator[_Lines]:
    """Letter and value of each line: those of the session, then those of each ``m=``."""
    part: _Lines = []
    for line in text.split("\n"):
        letter, equals, value = line.strip().partition("=")
        if not equals or len(letter) != 1:
            continue
        if letter == "m":
            yield part
            part = []
        part.append((letter, value.strip()))
    yield part


def _section(lines: _Lines, connection: Connection | None, attributes: tuple[tuple[str, str], ...]) -> Section:
    words = lines[0][1].split()
    kind, port, protocol, *formats = [*words, *[""] * (3 - len(words))]
    return Section(
        kind=kind.lower(),
        port=_number(port.partition("/")[0], 65_535) or 0,
        protocol=protocol.upper() if protocol.upper() in _RTP else protocol,
        formats=tuple(dict.fromkeys(formats)),
        connection=_connection(lines) or connection,
        attributes=_attributes(lines) + attributes,
    )


def _attributes(lines: _Lines) -> tuple[tuple[str, str], ...]:
    split = (value.partition(":") for letter, value in lines if letter == "a")
    return tuple((name.strip().lower(), value.strip()) for name, _, value in split)


def _connection(lines: _Lines) -> Connection | None:
    """The first ``c=`` line that can be read."""
    for letter, value in lines:
        words = value.split() if letter == "c" else []
        if len(words) >= 3 and words[0].upper() == "IN" and words[1].upper() in ("IP4", "IP6"):
            host = words[2].partition("/")[0].strip("[]")
            literal = _address(host)
            if literal is not None:
                return Connection(literal)
            # A last label of digits, or one like 0x7f, is an address to some resolvers.
            if 0 < len(host) < 254 and _HOST.issuperset(host) and host.strip(".").rpartition(".")[2][:1].isalpha():
                return Connection(host.lower(), is_name=True)
    return None


def _address(host: str) -> str | None:
    try:
        address = ipaddress.ip_address(host) if len(host) <= 45 else None
    except ValueError:
        return None
    if address is None or (isinstance(address, ipaddress.IPv6Address) and address.scope_id):
        return None
    return str(address)


def _origin(value: str) -> Origin:
    """The user name may have blanks: the numbers are counted from the end."""
    words = value.split()[-5:]
    return Origin(session=_short(words[-5]), version=_short(words[-4])) if len(words) == 5 else Origin()


def _short(number: str) -> int:
    if number.isascii() and number.isdigit():
        return int(number[-18:]) & 0x7FFF_FFFF
    return zlib.crc32(number.encode()) & 0x7FFF_FFFF


def _number(text: str, most: int) -> int | None:
    """A decimal number from 0 to ``most``; a fraction is cut off."""
    whole = text.strip().partition(".")[0]
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 9):
        return None
    return int(whole) if int(whole) <= most else None


def _codec(encoding: str) -> tuple[str, str] | None:
    """The codec and rate of an rtpmap (``PCMU/8000/1``); None when it is not supported."""
    name, _, rest = encoding.partition("/")
    rate, _, channels = (word.strip() for word in rest.partition("/"))
    name = name.strip()
    rate = str(_number(rate, 192_000))
    if channels not in ("", "1") or rate == "None":
        return None
    if name.upper() in CODECS:
        return (name.upper(), "8000") if rate in _RATES_HZ[name.upper()] else None
    if name.lower() == _EVENT:
        return _EVENT, rate
    return ("CN", rate) if name.upper() == "CN" else None


def _codecs(section: Section) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name, _ in section.maps.values() if name in CODECS))


def _event_format(section: Section) -> str | None:
    """Of several telephone-events the one at 8,000 Hz, which is the clock of each codec here (RFC 4733 §2.4.1)."""
    found = [(rate != "8000", one) for one, (name, rate) in section.maps.items() if name == _EVENT]
    return min(found, key=lambda each: each[0])[1] if found else None


# -- writing -----------------------------------------------------------------------------------------------------------


def _in_the_order_of(offered: Sequence[str], answered: Sequence[Section], audio: Section | None) -> Iterator[Section]:
    """One stream for each that was offered: the audio that is used in the place of the first audio."""
    left = [section for section in answered if section is not audio]
    for kind in offered:
        if kind == "audio" and audio is not None:
            yield audio
            audio = None
            continue
        found = next((section for section in left if section.kind == kind), None)
        if found is not None:
            left.remove(found)
        yield found or Section(kind=kind, port=0, protocol="RTP/AVP", formats=("0",), connection=None)


def _refused(section: Section) -> str:
    words = [word for word in (section.kind, "0", section.protocol, *section.formats[:4]) if _is_token(word)]
    return "m=" + " ".join(words) if len(words) > 3 and words[1] == "0" else "m=application 0 RTP/AVP 0"


def _audio_lines(section: Section) -> Iterator[str]:
    event = _event_format(section)
    formats = [one for one, (name, _) in section.maps.items() if name != _EVENT or one == event]
    if len(formats) > _MAX_FORMATS:
        formats = [*(one for one in formats if one != event)][: _MAX_FORMATS - 1] + ([event] if event else [])
    yield f"m=audio {section.port} {section.protocol} {' '.join(formats)}"
    for one in formats:
        yield f"a=rtpmap:{one} {'/'.join(section.maps[one])}"
    if event is not None:
        yield f"a=fmtp:{event} {_events(section, event)}"
    longest_ms = _packet_ms(section.first("maxptime"))
    packet_ms = _packet_ms(section.first("ptime"))
    if packet_ms:
        yield f"a=ptime:{min(packet_ms, longest_ms or packet_ms)}"
    if longest_ms:
        yield f"a=maxptime:{longest_ms}"
    yield f"a={section.direction}"
    yield from _rtcp(section)
    crypto = [_crypto(value) for name, value in section.attributes if name == "crypto"]
    yield from [line for line in crypto if line][:_MAX_CRYPTO]


def _events(section: Section, event: str) -> str:
    """The events that the section accepts (RFC 4733 §2.4.1); 0 to 15 is the default."""
    written = (value.partition(" ") for name, value in section.attributes if name == "fmtp")
    events = next((rest.strip() for one, _, rest in written if one == event), "")
    return events if events and len(events) <= 64 and _EVENTS.issuperset(events) else "0-15"


def _packet_ms(value: str) -> int | None:
    least, most = _PTIME_MS
    written = _number(value, 999_999_999)
    return None if not written else max(least, min(most, written // least * least))


def _rtcp(section: Section) -> Iterator[str]:
    """RFC 3605."""
    words = section.first("rtcp").split()
    port = _number(words[0], 65_535) if words else None
    if not port:
        return
    if len(words) == 1:
        yield f"a=rtcp:{port}"
    elif len(words) == 4 and (address := _address(words[3])) and Connection(address).receives:
        yield f"a=rtcp:{port} IN {'IP6' if ':' in address else 'IP4'} {address}"


def _crypto(value: str) -> str:
    """An ``a=crypto`` line (RFC 4568 §9.1) with one key and no session parameters but its own; empty for any other."""
    words = value.split()
    if len(words) < 3 or len(value) > _MAX_LINE or _number(words[0], 999_999_999) is None:
        return ""
    tag, suite, key, *parameters = words
    if not (key.startswith("inline:") and _BASE64.issuperset(key) and _is_token(suite)):
        return ""
    return " ".join([f"a=crypto:{tag}", suite, key, *(each for each in parameters if _is_token(each))])


def _is_token(word: str) -> bool:
    return 0 < len(word) <= 64 and _TOKEN.issuperset(word)


# -- PJSIP's own text --------------------------------------------------------------------------------------------------


def _media_words(line: str) -> tuple[list[str], str]:
    """The words of an ``m=`` line, and what ends it."""
    stripped = line.rstrip("\r")
    return stripped.split(), line[len(stripped) :]


def _written_names(lines: Sequence[str]) -> dict[str, str]:
    """The name that each rtpmap gives to its payload type."""
    maps = (line[len("a=rtpmap:") :].partition(" ") for line in lines if line.startswith("a=rtpmap:"))
    return {one: name.partition("/")[0].strip() for one, _, name in maps}


def _described_type(line: str) -> str | None:
    """The payload type that an rtpmap or fmtp line is about."""
    if not line.startswith(("a=rtpmap:", "a=fmtp:")):
        return None
    return line.partition(":")[2].partition(" ")[0]
