"""The terminal, protected from control characters in foreign text."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDE = 240


def console() -> Console:
    """A console on the current stdout. It is wide when stdout is not a terminal, so that no table line is wrapped."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDE)


def printable(text: str) -> str:
    """The text without line breaks and control characters."""
    return "".join(character if character.isprintable() else " " for character in text)
