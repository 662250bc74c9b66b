"""A request body: bounded, and exactly one JSON object, or refused with the reason (RFC 8259, RFC 7493).

Stricter than ``json``: no duplicate names, no NaN or infinity, no unpaired surrogate, no NUL, bounded depth and number
of values. A body that passes can be stored and forwarded, and means the same to every parser.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import Request

from api.problems import BAD_REQUEST, CONTENT_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, Refusal

MAX_BYTES = 1_048_576
MAX_DEPTH = 64
MAX_VALUES = 10_000

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class Body:
    """A body that is one JSON object."""

    members: dict[str, Any]
    """As the client wrote them."""
    canonical: bytes
    """The object as JSON again: the same bytes for the same members."""

    @property
    def digest(self) -> str:
        """SHA-256 in hex: the same for the same members, in any order and spelling."""
        return hashlib.sha256(self.canonical).hexdigest()


async def read(request: Request) -> Body:
    """The body of ``request``; without a Content-Type it counts as JSON. Raises ``Refusal``.

    A body that is too large is refused as soon as its length is declared or reached; the rest is not read.
    """
    headers = request.headers
    declared = headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 12 or int(declared) > MAX_BYTES):
        raise _too_large()
    media_type, _, parameters = headers.get("content-type", "application/json").lower().partition(";")
    if media_type.strip() != "application/json" or parameters.strip().replace('"', "") not in ("", "charset=utf-8"):
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, "The body must be sent as Content-Type: application/json, in UTF-8.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, "The body must be sent without a Content-Encoding.")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BYTES:
            raise _too_large()
    return parse(bytes(content))


def parse(content: bytes) -> Body:
    """The object in ``content``. Raises ``Refusal``."""
    try:
        value = json.loads(content.decode(), object_pairs_hook=_object, parse_float=_finite, parse_constant=_constant)
        if not isinstance(value, dict):
            raise _bad("The body must be a JSON object: {…}.")
        _check_size(value)
        canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except json.JSONDecodeError as error:
        raise _bad(f"The body is not JSON: {error.msg} at line {error.lineno} column {error.colno}.") from None
    except UnicodeDecodeError:
        raise _bad("The body is not UTF-8.") from None
    except UnicodeEncodeError:
        raise _bad("The body has an unpaired surrogate (\\ud800 to \\udfff) in a string.") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # int() refuses thousands of digits
        raise _bad("The body has a number that is too long.") from None
    if _NUL.search(canonical):
        raise _bad("The body has a NUL character (\\u0000) in a string.")
    return Body(value, canonical)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _bad(f"The body has the name {name[:64]!a} twice in one object.")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _bad("The body has a number that is too large.")
    return number


def _constant(name: str) -> NoReturn:
    raise _bad(f"The body is not JSON: {name} is not a JSON value.")


def _check_size(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    seen = 0
    for _ in range(MAX_DEPTH + 1):
        containers = [node for node in level if isinstance(node, dict | list)]
        if not containers:
            return
        level = [child for node in containers for child in (node.values() if isinstance(node, dict) else node)]
        seen += len(level)
        if seen > MAX_VALUES:
            raise _bad(f"The body has more than {MAX_VALUES} values.")
    raise _too_deep()


def _too_deep() -> Refusal:
    return _bad(f"The body is nested more than {MAX_DEPTH} levels deep.")


def _too_large() -> Refusal:
    return Refusal(CONTENT_TOO_LARGE, f"The body is larger than {MAX_BYTES} bytes.")


def _bad(detail: str) -> Refusal:
    return Refusal(BAD_REQUEST, detail)
