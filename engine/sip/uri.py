"""Reads and writes SIP URIs (RFC 3261 §19.1). Pure; the only place where text becomes part of a SIP header."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from engine.sip.syntax import ALPHANUMERIC, Malformed, consists_of, quote

_USER: Final = ALPHANUMERIC | set("_.!~*'()&=+$,;?/-")  # RFC 3261 §25.1, without escapes
_PASSWORD: Final = ALPHANUMERIC | set("-_.!~*'()&=+$,")
_PARAM: Final = ALPHANUMERIC | set("-_.!~*'()[]/:&+$=")
_HEADERS: Final = ALPHANUMERIC | set("-_.!~*'()[]/?:+$&=")
_HEX: Final = frozenset(string.hexdigits)
_DIGITS: Final = frozenset(string.digits)
_LABEL: Final = ALPHANUMERIC | set("-_")
_LABEL_MAX, _NAME_MAX = 63, 253  # RFC 1035 §2.3.4, as text

_OWN_USER: Final = ALPHANUMERIC | set("._-")
_OWN_NAME: Final = ALPHANUMERIC | set(".-")
_OWN_PARAM_NAME: Final = ALPHANUMERIC | set("!%*_+`'~.-")
_OWN_PARAM_VALUE: Final = _OWN_PARAM_NAME | set(":[]/&$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SipUri:
    """One of our SIP URIs, without headers. ``params`` keep their order; ``host`` keeps the brackets of an IPv6
    reference.

    Raises ``ValueError`` for a ``user`` that would have to be escaped.
    """

    host: str
    user: str = ""
    port: int | None = None
    scheme: str = "sip"
    params: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.user and not _is_escaped(_USER, self.user):
            raise ValueError("the user part of a SIP URI has characters that are not allowed there")

    @classmethod
    def parse(cls, text: str) -> SipUri:
        """Read one URI; raises ``ValueError`` with a sentence for anything else, a second URI or a header included."""
        scheme, colon, rest = text.partition(":")
        address, *params = rest.split(";")
        user, at, place = address.rpartition("@")
        host, port_colon, port = host_and_port(place)
        if not (
            (colon and scheme in ("sip", "sips"))
            and (not at or consists_of(_OWN_USER, user.removeprefix("+")))
            and _is_own_host(host)
            and (not port_colon or (len(port) <= 5 and consists_of(_DIGITS, port)))
            and all(_is_own_param(param) for param in params)
        ):
            raise ValueError("expected a SIP URI such as sip:carrier.example:5060;transport=udp")
        if port and not 0 < int(port) < 65536:
            raise ValueError(f"port {int(port)} is not between 1 and 65535")
        return cls(scheme=scheme, user=user, host=host, port=int(port) if port else None, params=tuple(params))

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}:{user}{self.host}{port}{''.join(f';{param}' for param in self.params)}"

    def with_user(self, user: str) -> SipUri:
        """The same URI with another user."""
        return replace(self, user=user)

    @property
    def identity(self) -> SipUri:
        """The URI as an identity (From, To, P-Asserted-Identity): no port, no transport (RFC 3261 §19.1.1, table 1)."""
        return SipUri(user=self.user, host=self.host)

    @property
    def transport(self) -> str:
        """The transport that a sip: URI asks for: ``udp``, ``tcp`` or ``tls`` (RFC 3261 §19.1.1)."""
        named = _value_of("transport", self.params)
        return "udp" if named is None else named


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteUri:
    """A SIP URI of a far end. ``user``, ``password``, ``params`` and ``headers`` are as written, escapes included.

    ``scheme`` is ``sip`` or ``sips``; ``host`` is a name that DNS can carry, an IPv4 address or an IPv6 address in
    brackets. ``user`` may hold parameters (RFC 4694: ``+14155550123;npdi;rn=…``).
    """

    scheme: str
    user: str = ""
    password: str | None = None
    host: str
    port: int | None = None
    params: tuple[str, ...] = ()
    headers: str = ""

    @classmethod
    def parse(cls, text: str) -> RemoteUri:
        """Read one URI; raises ``Malformed`` with what is wrong, status 416 for another scheme."""
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if not colon or scheme not in ("sip", "sips"):
            raise Malformed("The URI is neither sip: nor sips:.", 416)
        userinfo, at, place = rest.partition("@")
        user, password_colon, password = userinfo.partition(":")
        if not at:
            user, password_colon, password, place = "", "", "", rest
        place, question, headers = place.partition("?")
        address, *params = place.split(";")
        host, port_colon, port = host_and_port(address)
        if at and not _is_escaped(_USER, user):
            raise Malformed("The URI has a user part with characters that are not allowed there.")
        if password and not _is_escaped(_PASSWORD, password):
            raise Malformed("The URI has a password with characters that are not allowed there.")
        if not is_host(host):
            raise Malformed("The URI names no host that can be reached.")
        if port_colon and not (len(port) <= 5 and consists_of(_DIGITS, port) and 0 < int(port) < 65536):
            raise Malformed("The URI has a port that is not between 1 and 65535.")
        params = [param for param in params if param]
        if not all(_is_escaped(_PARAM, param) and not param.startswith("=") for param in params):
            raise Malformed("The URI has parameters with characters that are not allowed there.")
        if headers and not _is_escaped(_HEADERS, headers):
            raise Malformed("The URI has headers with characters that are not allowed there.")
        return cls(
            scheme=scheme,
            user=user,
            password=password if password_colon else None,
            host=host,
            port=int(port) if port else None,
            params=tuple(params),
            headers=headers if question else "",
        )

    def param(self, name: str) -> str | None:
        """The value of a parameter in lower case, "" for a bare name, None when there is no such parameter."""
        return _value_of(name, self.params)

    @property
    def transport(self) -> str:
        """``tls`` for a sips: URI, the ``transport`` parameter of others in lower case, ``udp`` without one."""
        return "tls" if self.scheme == "sips" else self.param("transport") or "udp"

    def __str__(self) -> str:
        """The URI as a Request-URI: without its headers (RFC 3261 §19.1.1, table 1)."""
        password = f":{self.password}" if self.password is not None else ""
        user = f"{self.user}{password}@" if self.user else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}:{user}{self.host}{port}{''.join(f';{param}' for param in self.params)}"


def is_host(text: str) -> bool:
    """Whether ``text`` is a host name of at most 253 characters, an IPv4 address or an IPv6 address in brackets."""
    if text.startswith("["):
        return text.endswith("]") and "%" not in text and _is_address(IPv6Address, text[1:-1])
    name = text.removesuffix(".")
    labels = name.split(".")
    if len(name) > _NAME_MAX or not all(len(one) <= _LABEL_MAX and consists_of(_LABEL, one) for one in labels):
        return False
    return labels[-1][0] not in _DIGITS or _is_address(IPv4Address, text)  # a resolver reads "1.2" as an address too


def host_and_port(text: str) -> tuple[str, str, str]:
    """Host, colon and port of ``host:port``; the colons of an IPv6 address in brackets belong to the host."""
    bracket = text.find("]") + 1 if text.startswith("[") else 0
    rest, colon, port = text[bracket:].partition(":")
    return text[:bracket] + rest, colon, port


def name_addr(uri: SipUri, display_name: str = "") -> str:
    """``"Display" <uri>`` (RFC 3261 §20.10). Raises ``ValueError`` for a display name with control characters."""
    if not display_name:
        return f"<{uri}>"
    if not display_name.isprintable():
        raise ValueError("a display name holds no control characters")
    return f"{quote(display_name)} <{uri}>"


def _is_escaped(characters: frozenset[str], text: str) -> bool:
    """Whether ``text`` has at least one character, and others than ``characters`` only as %XX."""
    first, *escapes = text.split("%")
    return (
        bool(text)
        and all(char in characters for char in first)
        and all(
            len(escape) >= 2 and consists_of(_HEX, escape[:2]) and all(char in characters for char in escape[2:])
            for escape in escapes
        )
    )


def _is_address(version: type[IPv4Address] | type[IPv6Address], text: str) -> bool:
    try:
        version(text)
    except AddressValueError:
        return False
    return True


def _is_own_host(text: str) -> bool:
    if text.startswith("["):
        return text.endswith("]") and consists_of(_HEX | set(":."), text[1:-1])
    return consists_of(_OWN_NAME, text) and text[0] in ALPHANUMERIC and text[-1] in ALPHANUMERIC


def _is_own_param(text: str) -> bool:
    name, equals, value = text.partition("=")
    return consists_of(_OWN_PARAM_NAME, name) and (not equals or consists_of(_OWN_PARAM_VALUE, value))


def _value_of(name: str, params: tuple[str, ...]) -> str | None:
    named = (param.lower().partition("=") for param in params)
    return next((value for own, _, value in named if own == name), None)
