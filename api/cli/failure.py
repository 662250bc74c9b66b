"""A command's failure, as a sentence for the person who gave it."""

from __future__ import annotations


class CommandFailed(Exception):
    """The command could not do it; the text says what happened and what to do."""
