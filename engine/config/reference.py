"""The configuration reference: a table for each section, made from the settings' types, defaults and docstrings.

``python -m engine.config.reference`` writes the tables into ``README.md`` beside this module, between two comments; the
text around them is written by hand. The docstrings are read from the source on demand: Pydantic can keep them as
descriptions, but reading them added 60 ms to the start of every command.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from engine.config.addressing import AddressingConfig
from engine.config.settings import Config
from engine.config.trunk import TlsConfig, TrunkConfig
from engine.config.values import (
    Callers,
    Duration,
    IpAddress,
    Label,
    Network,
    OptionalIpAddress,
    OptionalServerUri,
    Ports,
    ReadableFile,
    SecretText,
    Section,
    ServerUri,
    WebUrl,
)

README: Final = Path(__file__).with_name("README.md")
_BEGIN, _END = "<!-- settings: python -m engine.config.reference -->\n", "<!-- end of settings -->"
_KINDS: Final[Mapping[Any, str]] = {
    bool: "`true` or `false`",
    str: "text",
    dict[str, str]: "table of texts",
    Callers: "number",
    Duration: "time",
    IpAddress: "IP address",
    Network: "network in CIDR",
    Label: "1 to 40 of `A-Z a-z 0-9 . _ -`",
    OptionalIpAddress: "IP address",
    OptionalServerUri: "SIP URI without a user",
    Ports: "two ports",
    ReadableFile: "path of a PEM file",
    SecretText: "text, secret",
    ServerUri: "SIP URI without a user",
    TlsConfig: "table, below",
    WebUrl: "URL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: the settings that ``section`` declares itself. ``prefix`` goes before each key."""

    title: str
    section: type[Section]
    prefix: str = ""


def tables() -> Iterator[Table]:
    """Every table, in the order of the file. A trunk's settings fill three of them."""
    for name, field in Config.model_fields.items():
        if name == "trunks":
            yield Table(title="`[[trunks]]`", section=TrunkConfig)
            yield Table(title="`[[trunks]]`: numbers and names", section=AddressingConfig)
            yield Table(title="`[[trunks]]`: `tls`", section=TlsConfig, prefix="tls.")
        else:
            assert isinstance(field.annotation, type)
            yield Table(title=f"`[{name}]`", section=field.annotation)


def reference() -> str:
    """Every table as Markdown, each below a heading and its section's own docstring."""
    return "\n".join("\n".join((f"### {table.title}", "", *_lines(table), "")) for table in tables())


def docstrings(section: type[Section]) -> dict[str, str]:
    """The docstring below each field that the section declares itself, by the field's name."""
    found: dict[str, str] = {}
    body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, below in pairwise(body.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _lines(table: Table) -> Iterator[str]:
    section = table.section
    yield _markdown(" ".join((section.__doc__ or "").split()))
    yield ""
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    meanings, annotations = docstrings(section), get_type_hints(section, include_extras=True)
    for name in section.__annotations__:
        field = section.model_fields[name]
        default = "required" if field.is_required() else _default(annotations[name], field.get_default())
        value = _value(annotations[name]) + _bounds(field.metadata)
        cells = (f"`{table.prefix}{field.alias or name}`", value, default, _markdown(meanings[name]))
        yield f"| {' | '.join(cells)} |"


def _default(annotation: Any, value: Any) -> str:
    if annotation == Duration:
        return f'`"{value:g}s"`'
    if isinstance(value, int) or (value and not isinstance(value, Section)):
        return f"`{_toml(value)}`"
    return "–"


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return f'"{value}"'


def _value(annotation: Any) -> str:
    """The permitted values, in words."""
    if annotation in _KINDS:
        return _KINDS[annotation]
    if annotation is int:
        return "whole number"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{_toml(one)}`" for one in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list: {_value(get_args(annotation)[0])}"
    assert get_origin(annotation) in (Union, UnionType)
    [one] = (one for one in get_args(annotation) if one is not NoneType)
    return _value(one)


def _bounds(rules: Iterable[object]) -> str:
    match {bound: getattr(rule, bound) for rule in rules for bound in ("ge", "le") if hasattr(rule, bound)}:
        case {"ge": least, "le": most}:
            return f", {least} to {most}"
        case {"ge": least}:
            return f", {least} or more"
        case _:
            return ""


def _markdown(docstring: str) -> str:
    return docstring.replace("``", "`")


def updated(text: str) -> str:
    """The README's text with the tables as they are now."""
    pattern = re.compile(f"({re.escape(_BEGIN)}).*?({re.escape(_END)})", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}\n{reference()}\n{found[2]}", text)


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{README}\n")
