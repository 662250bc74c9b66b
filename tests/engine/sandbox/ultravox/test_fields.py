from __future__ import annotations

import pytest

from engine.sandbox.ultravox.fields import Fields, seconds


@pytest.mark.parametrize(("text", "expected"), [("30s", 30.0), ("0.48s", 0.48), ("3600.000000s", 3600.0), ("0s", 0.0)])
def test_duration_is_read_in_seconds(text: str, expected: float) -> None:
    assert seconds(Fields({"d": text}), "d", 1.0) == expected


@pytest.mark.parametrize("value", ["30", "1m", "1h", ".5s", "030s", "-1s", "1 s", "", 30, True])
def test_wrong_duration_is_noted_and_read_as_the_default(value: object) -> None:
    fields = Fields({"d": value})
    assert seconds(fields, "d", 1.0) == 1.0
    assert list(fields.errors) == ["d"]


def test_null_reads_as_absent() -> None:
    fields = Fields(dict.fromkeys("abcdef"))
    assert fields.text("a") is None
    assert fields.flag("b", default=True)
    assert fields.number("c", 0.5, 0, 1) == 0.5
    assert fields.integer("d", 7) == 7
    assert fields.section("e") is None
    assert fields.list_of_objects("f") == []
    assert fields.errors == {}


def test_mistakes_of_a_section_carry_its_path() -> None:
    fields = Fields({"vad": {"delay": 1, "level": 7}})
    section = fields.section("vad")
    assert section is not None
    seconds(section, "delay", 0.0)
    section.number("level", 0.1, 0.1, 1.0)
    section.error("", "Wrong altogether.")
    assert set(fields.errors) == {"vad.delay", "vad.level", "vad"}


def test_boolean_is_no_number() -> None:
    fields = Fields({"a": True, "b": False})
    fields.number("a", 0.0, 0.0, 1.0)
    fields.integer("b", 1)
    assert set(fields.errors) == {"a", "b"}
