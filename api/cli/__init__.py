"""The command line, from the arguments to the exit code.

Exit codes: 0 done, 1 the call or the program failed, 2 a mistake in the arguments or the configuration. Every failure
is a sentence on stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from api.cli.commands import app
from api.cli.failure import CommandFailed
from engine.errors import ConfigError, TrunklineError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``trunkline`` and exit."""
    try:
        app(arguments)
    except ConfigError as error:
        sys.exit(_failed(error, 2))
    except (CommandFailed, TrunklineError) as error:
        sys.exit(_failed(error, 1))


def _failed(error: Exception, code: int) -> int:
    typer.echo(f"trunkline: {error}", err=True)
    return code
