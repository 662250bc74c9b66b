"""The configuration file: finds, reads and checks all of it, and reports every mistake at once.

It is TOML; ``${NAME}`` inside a string is read from the environment (``$${`` writes a plain ``${``); unknown keys are
errors.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.config.settings import Config
from engine.errors import ConfigError


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: ``path``, else ``TRUNKLINE_CONFIG``, else ``./trunkline.toml`` if it exists, else None."""
    if path is not None:
        return path
    if named := environ.get("TRUNKLINE_CONFIG"):
        return Path(named)
    return default if (default := Path("trunkline.toml")).exists() else None


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read and check the file that ``find_config`` finds; the defaults when there is none.

    Raises ``ConfigError`` with every mistake of the file; no password or API key is in it.
    """
    found = find_config(path, environ)
    if found is None:
        return Config()
    source = str(found)
    unset: dict[str, str] = {}
    document = _expand(_parse(found), "", environ, unset)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        found_mistakes = [(_dotted(detail["loc"]), _explain(detail)) for detail in error.errors(include_url=False)]
        mistakes = [*unset.items(), *((key, text) for key, text in found_mistakes if key not in unset)]
        raise ConfigError(source, mistakes) from None
    if unset:
        raise ConfigError(source, list(unset.items()))
    return config


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [("file", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [("file", f"is not UTF-8 text (byte {error.start})")]) from None
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).removesuffix(")").rpartition(" (at ")
        raise ConfigError(str(path), [(where, f"not TOML: {what[:1].lower()}{what[1:]}")]) from None


_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")


def _expand(value: Any, key: str, environ: Mapping[str, str], unset: dict[str, str]) -> Any:
    """``value`` with each ``${NAME}`` replaced and its lists as tuples; ``unset`` gets a message for each bad name."""
    if isinstance(value, dict):
        return {name: _expand(item, f"{key}.{name}".lstrip("."), environ, unset) for name, item in value.items()}
    if isinstance(value, list):
        return tuple(_expand(item, f"{key}[{index}]", environ, unset) for index, item in enumerate(value))
    if not isinstance(value, str):
        return value

    def read(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not match[0].endswith("}"):
            unset[key] = "${ starts the name of an environment variable, as in ${NAME}; write $${ for a plain ${"
        elif name not in environ:
            unset[key] = f"the environment variable {name} is not set"
        return environ.get(name, "")

    return _REFERENCE.sub(read, value)


def _dotted(location: tuple[int | str, ...]) -> str:
    """The key as it is found in the file, such as ``trunks[0].codecs[1]``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")


_EXPECTED = {
    "missing": "is missing",
    "string_type": "expected a text in quotes",
    "int_type": "expected a whole number",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list in brackets",
    "model_type": "expected a table of settings",
    "string_pattern_mismatch": "has characters that are not allowed here",
}


def _explain(detail: ErrorDetails) -> str:
    """One mistake in plain words."""
    match detail["type"]:
        case "value_error":
            return str(detail["ctx"]["error"])
        case "extra_forbidden":
            return _unknown_key(detail["loc"])
        case "literal_error":
            return f"expected {detail['ctx']['expected']}, not {detail['input']!r}"
        case "greater_than_equal":
            return f"expected {detail['ctx']['ge']} or more, not {detail['input']}"
        case "less_than_equal":
            return f"expected {detail['ctx']['le']} or less, not {detail['input']}"
        case kind:
            return _EXPECTED.get(kind, detail["msg"])


def _unknown_key(location: tuple[int | str, ...]) -> str:
    section: type[BaseModel] = Config
    for step in location[:-1]:
        if isinstance(step, str):
            annotation = section.model_fields[step].annotation
            section = (get_args(annotation) or (annotation,))[0]
    known = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"is no setting; did you mean {near[0]}?" if near else f"is no setting; there are {', '.join(known)}"
