"""The terminal: plain text that came from elsewhere cannot command it."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDE = 240


def console() -> Console:
    """Stdout as it is now; wide when it is not a terminal, so that no line of a table is broken for a program."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDE)


def printable(text: str) -> str:
    """The text without line breaks and control characters."""
    return "".join(character if character.isprintable() else " " for character in text)
