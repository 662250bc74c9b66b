"""Log lines: one sentence and its fields, each line about a call carrying the call's id; personal data masked."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from typing import TextIO

import structlog

_NUMBER = re.compile(r"\+[0-9]{3}[0-9]+(?=[0-9]{2})")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The least level that is logged (of ``logging``), and the format of the lines."""

    level: str = "INFO"
    json: bool = False


def mask_numbers(text: str) -> str:
    """``text`` with the middle of every E.164 number hidden: ``+14155551234`` becomes ``+141*****34``."""
    return _NUMBER.sub(lambda match: match[0][:4] + "*" * (len(match[0]) - 4), text)


def _one_line(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape control characters, so that foreign text can neither start a log line nor control a terminal. Tracebacks
    are our own text and keep their lines."""
    return {
        key: _CONTROL.sub(lambda match: repr(match[0])[1:-1], value)
        if isinstance(value, str) and key != "exception"
        else value
        for key, value in event.items()
    }


def set_up_logging(settings: LogSettings, stream: TextIO = sys.stderr) -> None:
    """Send everything under the logger ``trunkline`` to ``stream``; call once a process."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _one_line,
    ]
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if settings.json else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # The whole line is masked, so that no field, however deep, nor a traceback is passed over.
                lambda logger, name, event: mask_numbers(str(render(logger, name, event))),
            ],
        )
    )
    root = logging.getLogger("trunkline")
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    root.propagate = False
