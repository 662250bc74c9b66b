"""A registrar's and a proxy's look at digest credentials, as RFC 7616 §3.4 words it."""

from __future__ import annotations

import hashlib
import re

from tests.sip.messages import SipMessage

_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


def accepts(request: SipMessage, username: str, password: str) -> int:
    """How many of the request's credentials are right; -1 when one is wrong."""
    fields = [*request.all("Authorization"), *request.all("Proxy-Authorization")]
    right = [_right(field, request, username, password) for field in fields]
    return len(right) if all(right) else -1


def _right(field: str, request: SipMessage, username: str, password: str) -> bool:
    given = {
        key.lower(): quoted if quoted or not plain else plain
        for key, quoted, plain in re.findall(r'([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', field)
    }
    algorithm = given.get("algorithm", "MD5").upper()
    name = _HASHES[algorithm.removesuffix("-SESS")]

    def hashed(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode()).hexdigest()

    secret = hashed(username, given["realm"], password)
    if algorithm.endswith("-SESS"):
        secret = hashed(secret, given["nonce"], given["cnonce"])
    qop = given.get("qop", "")
    body = (hashlib.new(name, request.body.encode()).hexdigest(),) if qop == "auth-int" else ()
    request_hash = hashed(request.method, given["uri"], *body)
    middle = (given["nc"], given["cnonce"], qop) if qop else ()
    expected = hashed(secret, given["nonce"], *middle, request_hash)
    wanted = (username, expected, request.uri)
    return (given["username"], given["response"], given["uri"]) == wanted
