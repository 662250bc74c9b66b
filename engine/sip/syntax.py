"""The grammar that SIP's header fields share (RFC 3261 §25.1): tokens, numbers, quoted strings, lists and parameters.

Every reader takes time in proportion to the length of its text, whatever the text is. None uses a regular expression.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

ALPHANUMERIC: Final = frozenset(string.ascii_letters + string.digits)
BLANKS: Final = " \t"
_TOKEN: Final = ALPHANUMERIC | set("-.!%*_+`'~")
_DIGITS_MAX: Final = 10
_NOT_IN_VALUE: Final = frozenset(' \t\r\n",;<>')


class Malformed(ValueError):
    """A far end's text is not SIP. The error's text is one sentence; ``status`` is the answer to such a request."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


def consists_of(characters: Collection[str], text: str) -> bool:
    """Whether ``text`` has at least one character, and none outside ``characters``."""
    return bool(text) and all(char in characters for char in text)


def is_token(text: str) -> bool:
    """Whether ``text`` can stand as a method, a field's name or a parameter's name."""
    return consists_of(_TOKEN, text)


def number(text: str) -> int | None:
    """The value of ASCII digits, None for any other text and for more than ten digits after leading zeros."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) <= _DIGITS_MAX else None


def split_list(text: str, separator: str = ",") -> list[str]:
    """The parts between separators that stand outside ``"…"`` and ``<…>``, stripped; empty parts are left out.

    A quote or bracket that is never closed reaches to the end of the text.
    """
    if '"' not in text and "<" not in text:
        parts = text.split(separator)
    else:
        cuts = [-1, *_separators(text, separator), len(text)]
        parts = [text[before + 1 : after] for before, after in pairwise(cuts)]
    return [stripped for part in parts if (stripped := part.strip(BLANKS))]


def _separators(text: str, separator: str) -> Iterator[int]:
    closing, escaped = "", False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif closing:
            escaped = char == "\\" and closing == '"'
            closing = "" if char == closing else closing
        elif char in '"<':
            closing = '"' if char == '"' else ">"
        elif char == separator:
            yield index


def quoted_end(text: str) -> int:
    """The end of the quoted string at the start of ``text``, behind its closing quote; -1 when it does not end."""
    at = 1
    while (quote := text.find('"', at)) >= 0:
        backslashes = quote - len(text[at:quote].rstrip("\\")) - at
        if backslashes % 2 == 0:
            return quote + 1
        at = quote + 1
    return -1


def quote(text: str) -> str:
    r"""``text`` as a quoted string; ``"`` and ``\`` are escaped."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def unquote(text: str) -> str:
    """The contents of a quoted string; any other text stays as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner, plain, escaped = text[1:-1], [], False
    if "\\" not in inner:
        return inner
    for char in inner:
        escaped = char == "\\" and not escaped
        if not escaped:
            plain.append(char)
    return "".join(plain)


@dataclass(frozen=True, slots=True)
class Params:
    """Parameters in their order, their values as written: quotes are kept. None is the value of a bare name."""

    items: tuple[tuple[str, str | None], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Params:
        """Read ``;name=value;name``. A parameter that cannot be read is left out."""
        return cls(tuple(item for part in split_list(text, ";") if (item := _param(part))))

    def __contains__(self, name: str) -> bool:
        return any(own.lower() == name.lower() for own, _ in self.items)

    def get(self, name: str) -> str | None:
        """The first value of ``name`` without its quotes, "" for a bare name, None when there is no such parameter."""
        found = (value for own, value in self.items if own.lower() == name.lower())
        value = next(found, None)
        return unquote(value) if value is not None else ("" if name in self else None)

    def with_param(self, name: str, value: str | None = None) -> Params:
        """With ``value`` in place of the values that ``name`` has; it is quoted where it has to be."""
        if value is not None and (not value or any(char in _NOT_IN_VALUE for char in value)):
            value = quote(value)
        if name not in self:
            return Params((*self.items, (name, value)))
        first = next(index for index, (own, _) in enumerate(self.items) if own.lower() == name.lower())
        before, after = Params(self.items[:first]), Params(self.items[first:]).without(name)
        return Params((*before.items, (name, value), *after.items))

    def without(self, *names: str) -> Params:
        dropped = {name.lower() for name in names}
        return Params(tuple(item for item in self.items if item[0].lower() not in dropped))

    def __str__(self) -> str:
        return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in self.items)


def _param(text: str) -> tuple[str, str | None] | None:
    name, equals, value = text.partition("=")
    name, value = name.rstrip(BLANKS), value.lstrip(BLANKS)
    if not is_token(name):
        return None
    if not equals:
        return name, None
    if value.startswith('"'):
        return (name, value) if quoted_end(value) == len(value) else None
    return (name, value) if value and not any(char in _NOT_IN_VALUE for char in value) else None
