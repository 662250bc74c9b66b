"""SIP URIs, read and written (RFC 3261 §19.1): pure, and the only place where text becomes part of a SIP header."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_USER = re.compile(r"(?:[A-Za-z0-9_.!~*'()&=+$,;?/-]|%[0-9A-Fa-f]{2})*")  # RFC 3261 §25.1
_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_PARAM = r"[A-Za-z0-9!%*_+`'~.-]+(?:=[A-Za-z0-9!%*_+`'~.:\[\]/&$-]+)?"
_URI = re.compile(
    rf"(?P<scheme>sips?):(?:(?P<user>\+?[A-Za-z0-9._-]+)@)?{_HOST}(?::(?P<port>[0-9]{{1,5}}))?(?P<params>(?:;{_PARAM})*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SipUri:
    """A SIP URI without headers. ``params`` keep their order; ``host`` keeps the brackets of an IPv6 reference.

    Raises ``ValueError`` for a ``user`` that would have to be escaped.
    """

    host: str
    user: str = ""
    port: int | None = None
    scheme: str = "sip"
    params: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _USER.fullmatch(self.user):
            raise ValueError("the user part of a SIP URI has characters that cannot stand there")

    @classmethod
    def parse(cls, text: str) -> SipUri:
        """Read one URI; raises ``ValueError`` with a sentence for anything else, a second URI or a header included."""
        match = _URI.fullmatch(text)
        if match is None:
            raise ValueError("expected a SIP URI such as sip:carrier.example:5060;transport=udp")
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 0 < port < 65536:
            raise ValueError(f"port {port} is not between 1 and 65535")
        params = tuple(part for part in match["params"].split(";") if part)
        return cls(scheme=match["scheme"], user=match["user"] or "", host=match["host"], port=port, params=params)

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}:{user}{self.host}{port}{''.join(f';{param}' for param in self.params)}"

    def with_user(self, user: str) -> SipUri:
        """The same place, addressed to ``user``."""
        return replace(self, user=user)

    @property
    def identity(self) -> SipUri:
        """The URI as an identity (From, To, P-Asserted-Identity): no port, no transport (RFC 3261 §19.1.1, table 1)."""
        return SipUri(user=self.user, host=self.host)

    @property
    def transport(self) -> str:
        """``udp``, ``tcp`` or ``tls``: what a sip: URI asks for (RFC 3261 §19.1.1)."""
        named = (param.lower().partition("=") for param in self.params)
        return next((value for name, _, value in named if name == "transport"), "udp")


def name_addr(uri: SipUri, display_name: str = "") -> str:
    """``"Display" <uri>`` (RFC 3261 §20.10). Raises ``ValueError`` for a display name with control characters."""
    if not display_name:
        return f"<{uri}>"
    if not display_name.isprintable():
        raise ValueError("a display name holds no control characters")
    quoted = display_name.replace("\\", r"\\").replace('"', r"\"")  # RFC 3261 §25.1: quoted-pair
    return f'"{quoted}" <{uri}>'


_Q850 = re.compile(r"^Reason\s*:.*?\bQ\.850\s*;[^\r\n,]*?\bcause\s*=\s*(\d{1,3})", re.IGNORECASE | re.MULTILINE)


def q850_cause(message: str) -> int | None:
    """The Q.850 cause in the Reason header (RFC 3326 §2) of a SIP message as received, or None."""
    match = _Q850.search(message.partition("\r\n\r\n")[0])
    return int(match[1]) if match and int(match[1]) < 128 else None


_RETRY_AFTER = re.compile(r"^Retry-After\s*:\s*(\d{1,9})", re.IGNORECASE | re.MULTILINE)


def retry_after_s(message: str) -> int | None:
    """The seconds of the Retry-After header (RFC 3261 §20.33) of a SIP message as received, or None."""
    match = _RETRY_AFTER.search(message.partition("\r\n\r\n")[0])
    return int(match[1]) if match else None
