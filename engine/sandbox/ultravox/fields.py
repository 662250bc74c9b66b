"""Reading the fields of a protobuf-JSON object, collecting every mistake by field."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final, TypeGuard

_DURATION: Final = re.compile(r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,9})?s")
"""The published pattern without its minus sign: no field here may have a negative duration."""


class InvalidRequest(Exception):
    """The request is refused with 400; ``errors`` is the body: ``{field: [message, …]}``."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__(f"invalid fields: {', '.join(errors)}")
        self.errors = errors


class Fields:
    """One JSON object at ``path``. Each reader always returns a usable value, and notes what was wrong in ``errors``.

    ``null`` reads as absent, as protobuf JSON defines it.
    """

    def __init__(self, values: dict[str, Any], path: str = "", errors: dict[str, list[str]] | None = None) -> None:
        self.values = values
        self.path = path
        self.errors: dict[str, list[str]] = {} if errors is None else errors

    def error(self, key: str, message: str) -> None:
        self.errors.setdefault(".".join(filter(None, (self.path, key))), []).append(message)

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def text(self, key: str, *, max_length: int | None = None) -> str | None:
        value = self._typed(key, str, "a string")
        if isinstance(value, str) and max_length is not None and len(value) > max_length:
            self.error(key, f"Ensure this field has no more than {max_length} characters.")
        return value if isinstance(value, str) else None

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._typed(key, bool, "a boolean")
        return value if isinstance(value, bool) else default

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.error(key, f"Expected a number from {low:g} to {high:g}.")
            return default
        return float(value)

    def integer(self, key: str, default: int | None, low: int = 1) -> int | None:
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            self.error(key, f"Expected an integer of at least {low}.")
            return default
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str | None:
        value = self.get(key)
        if value is not None and value not in allowed:
            self.error(key, f"{value!r} is not a valid choice.")
            return None
        return value if isinstance(value, str) else None

    def section(self, key: str) -> Fields | None:
        value = self._typed(key, dict, "an object")
        return Fields(value, ".".join(filter(None, (self.path, key))), self.errors) if is_object(value) else None

    def list_of_objects(self, key: str) -> list[dict[str, Any]]:
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(is_object(item) for item in value):
            self.error(key, "Expected a list of objects.")
            return []
        return value

    def _typed(self, key: str, kind: type, name: str) -> object:
        value = self.get(key)
        if value is not None and not isinstance(value, kind):
            self.error(key, f"Expected {name}.")
            return None
        return value


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def seconds(fields: Fields, key: str, default: float) -> float:
    """The duration string at ``key`` (``"30s"``, ``"0.48s"``) in seconds."""
    value = fields.get(key)
    if value is None:
        return default
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        fields.error(key, 'Expected a duration like "30s" or "0.48s".')
        return default
    return float(value[:-1])
