"""Digest authentication: reads and answers the far end's challenges (RFC 3261 §22, RFC 7616, RFC 8760).

No text of a far end makes anything here raise: ``Refused.reason`` names a challenge that cannot be read or answered.
Realm, nonce and opaque are kept as they stand between their quotes, with their escapes. They are sent back and hashed
unchanged, as ``unq()`` means (RFC 7616 §3.4) and as PJSIP and the usual proxies do.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

MAX_FIELD = 8192
"""Characters of a header field's value; a longer one is not read."""

MAX_CHALLENGES = 32
"""Challenges that are read in one field value, and that are looked at in one response."""

MAX_REALMS = 8
"""The most realms that one session answers: more than any chain of proxies has."""

_BLANKS = " \t\r\n"
_ENDS_WORD = _BLANKS + ',="'


def _hash(name: str, data: bytes) -> str:
    return hashlib.new(name, data, usedforsecurity=False).hexdigest()


_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
"""The hash of each algorithm (RFC 7616 §3.3) without ``-sess``, and its name in hashlib."""

ALGORITHMS = (*_HASHES, *(f"{name}-sess" for name in _HASHES))
_CANONICAL = {name.lower(): name for name in ALGORITHMS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge of a WWW-Authenticate (401) or Proxy-Authenticate (407) field.

    ``algorithm`` has its usual spelling where it is one of ``ALGORITHMS``; "" where the far end named none, which means
    MD5. ``qop`` is lower-case and in the far end's order; empty where it named none (RFC 2069). ``nonce`` is None where
    there is none that could be sent back. ``proxy`` is True for Proxy-Authenticate.
    """

    realm: str
    nonce: str | None
    opaque: str | None = None
    algorithm: str = ""
    qop: tuple[str, ...] = ()
    stale: bool = False
    proxy: bool = False
    scheme: str = "Digest"

    @property
    def answerable(self) -> bool:
        """Whether we support the scheme, algorithm and quality of protection."""
        return not self.obstacle

    @property
    def obstacle(self) -> str:
        """The part of the challenge that we do not support, for a sentence; "" if there is none."""
        if self.scheme.lower() != "digest":
            return _shown(self.scheme)
        if self.algorithm and self.algorithm not in ALGORITHMS:
            return f"Digest with algorithm {_shown(self.algorithm)}"
        if self.qop and not {"auth", "auth-int"}.intersection(self.qop):
            return f"Digest with qop {_shown(', '.join(self.qop))}"
        return "Digest without a nonce" if self.nonce is None else ""

    @property
    def space(self) -> tuple[bool, str]:
        """The protection space of credentials: a proxy and a server may use the same realm."""
        return self.proxy, self.realm


@dataclass(frozen=True, slots=True)
class Credentials:
    """A username and its password. Raises ``ValueError`` for a username that cannot stand in a header field."""

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _fits_a_field(self.username):
            raise ValueError("a username holds no control characters")


@dataclass(frozen=True, slots=True)
class Retry:
    """Send the request again with ``Session.answer``."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Do not send the request again. ``reason`` is a sentence without secrets."""

    reason: str


def read_challenges(value: str, *, proxy: bool) -> list[Challenge]:
    """The challenges of one field value, in its order. Those of other schemes are included for their names.

    Lenient: blanks anywhere, commas missing between parameters, parameters twice (the first counts), quotes around
    tokens or none around strings. A value longer than ``MAX_FIELD`` holds no challenge. Linear in the length.
    """
    if len(value) > MAX_FIELD:
        return []
    found: list[tuple[str, dict[str, str]]] = []
    at, begins = 0, True  # a scheme stands at the beginning or after a comma
    while at < len(value):
        if value[at] in _BLANKS or value[at] in ',="':
            begins = begins or value[at] == ","
            at = _after_quotes(value, at) if value[at] == '"' else at + 1
            continue
        word, at = _word(value, at)
        at = _after_blanks(value, at)
        if value[at : at + 1] == "=":
            text, at = _parameter_value(value, _after_blanks(value, at + 1))
            if found and text is not None:
                found[-1][1].setdefault(word.lower(), text)
            begins = False
        elif begins and (word.lower() == "digest" or value[at : at + 1] not in ("", ",")):
            # An unsupported scheme without parameters is skipped, like a parameter without a value.
            if len(found) == MAX_CHALLENGES:
                break
            found.append((word, {}))
            begins = False
    return [_challenge(scheme, parameters, proxy=proxy) for scheme, parameters in found]


def choose(challenges: Iterable[Challenge]) -> list[Challenge]:
    """The challenges to answer: for each realm the topmost that we support (RFC 8760 §2.4)."""
    chosen: dict[tuple[bool, str], Challenge] = {}
    for challenge in list(challenges)[:MAX_CHALLENGES]:
        if challenge.answerable:
            chosen.setdefault(challenge.space, challenge)
    return list(chosen.values())


@dataclass(slots=True)
class Exchange:
    """One request with its repetitions: the nonces that its credentials used, and how often these were refused."""

    nonces: dict[tuple[bool, str], set[str]] = field(default_factory=dict)
    stale: dict[tuple[bool, str], int] = field(default_factory=dict)
    refused: dict[tuple[bool, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class _Memory:
    """A session's state for one realm. ``nc`` counts the requests that used the nonce; each nonce has one cnonce."""

    challenge: Challenge
    cnonce: str
    nc: int = 0


class Session:
    """Answers the challenges of one dialog or one registration. Once a realm is known, it sends credentials at once.

    One ``Exchange`` belongs to each request; its repetitions share it. An ACK carries what its INVITE carried
    (RFC 3261 §22.1): the caller keeps those fields.
    """

    def __init__(
        self, credentials: Credentials | None, *, new_cnonce: Callable[[], str] = lambda: secrets.token_hex(16)
    ) -> None:
        self._credentials = credentials
        self._new_cnonce = new_cnonce
        self._realms: dict[tuple[bool, str], _Memory] = {}

    def answer(self, method: str, uri: str, body: bytes, exchange: Exchange) -> list[tuple[str, str]]:
        """The Authorization and Proxy-Authorization fields of a request, name and value; empty before any challenge.

        ``uri`` is the Request-URI as it is sent. Each call counts as one use of every nonce.
        """
        if self._credentials is None:
            return []
        fields = []
        for space, memory in self._realms.items():
            memory.nc += 1
            exchange.nonces.setdefault(space, set()).add(memory.challenge.nonce or "")
            value = authorization(
                memory.challenge, self._credentials, method, uri, body, nc=memory.nc, cnonce=memory.cnonce
            )
            fields.append(("Proxy-Authorization" if memory.challenge.proxy else "Authorization", value))
        return fields

    def challenged(self, challenges: Iterable[Challenge], exchange: Exchange) -> Retry | Refused:
        """Decide about a 401 or 407 to the request of ``exchange``; ``challenges`` are all challenges of that response.

        Refused credentials are sent once more, and only over a new nonce: some far ends forget ``stale=true``. With
        ``stale=true`` they are sent a second time. Every realm of a chain is answered.
        """
        received = list(challenges)
        chosen = choose(received)
        if not chosen:
            return Refused(_unanswerable(received))
        if self._credentials is None:
            return Refused(
                f"The trunk asks for a username and password for {_realm(chosen[0])}, and none is configured."
            )
        for challenge in chosen:
            reason = _final(challenge, exchange)
            if reason:
                self._realms.pop(challenge.space, None)
                return Refused(reason)
        if len(self._realms.keys() | {challenge.space for challenge in chosen}) > MAX_REALMS:
            return Refused(f"The trunk asks for credentials in more than {MAX_REALMS} realms.")
        for challenge in chosen:
            self._remember(challenge, exchange)
        return Retry()

    def _remember(self, challenge: Challenge, exchange: Exchange) -> None:
        if challenge.space in exchange.nonces:
            count = exchange.stale if challenge.stale else exchange.refused
            count[challenge.space] = count.get(challenge.space, 0) + 1
        known = self._realms.get(challenge.space)
        if known is None or known.challenge.nonce != challenge.nonce:
            self._realms[challenge.space] = _Memory(challenge, self._new_cnonce())
        else:
            known.challenge = challenge  # another request was challenged over this nonce: its count goes on


def authorization(
    challenge: Challenge, credentials: Credentials, method: str, uri: str, body: bytes, *, nc: int, cnonce: str
) -> str:
    """The value of an Authorization or Proxy-Authorization field (RFC 7616 §3.4) for an ``answerable`` challenge."""
    qop = "" if not challenge.qop else "auth" if "auth" in challenge.qop else "auth-int"
    session = challenge.algorithm.endswith("-sess")
    response = _response(challenge, credentials, method, uri, body, qop=qop, nc=nc, cnonce=cnonce)
    parts = [
        f'Digest username="{_escaped(credentials.username)}"',
        f'realm="{challenge.realm}"',
        f'nonce="{challenge.nonce or ""}"',
        f'uri="{_escaped(uri)}"',
        f'response="{response}"',
    ]
    if challenge.algorithm:
        parts.append(f"algorithm={challenge.algorithm}")
    if qop or session:  # the hash of a -sess algorithm cannot be checked without the cnonce
        parts.append(f'cnonce="{cnonce}"')
    if challenge.opaque is not None:
        parts.append(f'opaque="{challenge.opaque}"')
    if qop:
        parts += [f"qop={qop}", f"nc={nc:08x}"]
    return ", ".join(parts)


def _response(
    challenge: Challenge,
    credentials: Credentials,
    method: str,
    uri: str,
    body: bytes,
    *,
    qop: str,
    nc: int,
    cnonce: str,
) -> str:
    """The ``response`` directive (RFC 7616 §3.4.1 to §3.4.3), as hexadecimal digits."""
    name = _HASHES[challenge.algorithm.removesuffix("-sess") or "MD5"]

    def hashed(*parts: str) -> str:
        return _hash(name, _bytes(":".join(parts)))

    nonce = challenge.nonce or ""
    secret = hashed(credentials.username, challenge.realm, credentials.password)
    if challenge.algorithm.endswith("-sess"):
        secret = hashed(secret, nonce, cnonce)
    request = hashed(method, uri, _hash(name, body)) if qop == "auth-int" else hashed(method, uri)
    return hashed(secret, nonce, f"{nc:08x}", cnonce, qop, request) if qop else hashed(secret, nonce, request)


def _final(challenge: Challenge, exchange: Exchange) -> str:
    """Why the credentials of this request are not sent again, as a sentence; "" if they are."""
    nonces = exchange.nonces.get(challenge.space)
    if nonces is None:
        return ""
    if (challenge.nonce or "") in nonces:
        return f"The trunk refused the username and password for {_realm(challenge)}."
    refused, stale = exchange.refused.get(challenge.space, 0), exchange.stale.get(challenge.space, 0)
    if refused + stale < 2 and (challenge.stale or not refused):
        return ""
    if refused or not challenge.stale:
        return f"The trunk refused the username and password for {_realm(challenge)}, over a new nonce too."
    return f"The trunk called three nonces in a row stale for {_realm(challenge)}."


def _unanswerable(challenges: Iterable[Challenge]) -> str:
    kinds = list(dict.fromkeys(challenge.obstacle for challenge in challenges))
    if not kinds:
        return "The trunk asks for authentication, but its response has no readable challenge."
    return f"The trunk asks for a kind of authentication that we do not support: {'; '.join(kinds[:4])}."


def _challenge(scheme: str, parameters: dict[str, str], *, proxy: bool) -> Challenge:
    algorithm = parameters.get("algorithm", "").strip()
    nonce, opaque = parameters.get("nonce"), parameters.get("opaque")
    realm = parameters.get("realm", "")
    echoed = all(_fits_a_field(text) for text in (realm, nonce or "", opaque or ""))
    qop = (word.strip().lower() for word in parameters.get("qop", "").split(","))
    return Challenge(
        scheme=scheme,
        realm=realm,
        nonce=nonce if echoed else None,
        opaque=opaque,
        algorithm=_CANONICAL.get(algorithm.lower(), algorithm),
        qop=tuple(word for word in qop if word),
        stale=parameters.get("stale", "").strip().lower() == "true",
        proxy=proxy,
    )


def _word(value: str, at: int) -> tuple[str, int]:
    end = at
    while end < len(value) and value[end] not in _ENDS_WORD:
        end += 1
    return value[at:end], end


def _parameter_value(value: str, at: int) -> tuple[str | None, int]:
    """The text of a parameter, with its escapes, and the index of its end; None for a quoted string that never ends."""
    if value[at : at + 1] == '"':
        end = _after_quotes(value, at)
        closed = end > at + 1 and value[end - 1] == '"' and not _ends_escaped(value, at + 1, end - 1)
        return (value[at + 1 : end - 1] if closed else None), end
    end = at
    while end < len(value) and value[end] not in _BLANKS + ",":
        end += 1
    return _escaped(value[at:end]), end


def _after_quotes(value: str, at: int) -> int:
    """The end of the quoted string that begins at ``at``: behind its closing quote, or at the end of the value."""
    at += 1
    while at < len(value) and value[at] != '"':
        at += 2 if value[at] == "\\" else 1
    return min(at + 1, len(value))


def _ends_escaped(value: str, start: int, end: int) -> bool:
    """Whether the backslashes before ``end``, from ``start`` on, escape the character at ``end``."""
    before = value[start:end]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _after_blanks(value: str, at: int) -> int:
    while at < len(value) and value[at] in _BLANKS:
        at += 1
    return at


def _fits_a_field(text: str) -> bool:
    """Whether the text may be written into a header field: no line ends, no control characters, and encodable."""
    try:
        _bytes(text)
    except UnicodeEncodeError:
        return False
    return all(char == "\t" or (char >= " " and char != "\x7f") for char in text)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # a reader may keep bytes that are no UTF-8 in this form


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _realm(challenge: Challenge) -> str:
    return f'realm "{_shown(challenge.realm)}"' if challenge.realm else "an empty realm"


def _shown(text: str) -> str:
    """The far end's text for a sentence: printable and short."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:61])
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
