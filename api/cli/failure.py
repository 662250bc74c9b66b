"""A command's failure, as a sentence for its user."""

from __future__ import annotations


class CommandFailed(Exception):
    """The command failed; the text says what happened and what to do."""
