"""The dialect that is left in the source: a count for each package, which may only fall.

These words make a native reader read a sentence twice. Write report, notify, return, log or publish instead of "tell",
"again" instead of "anew", and "its own" instead of "of its own".
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_WORDS = ("told", "tells", "heed", "anew", "as yet", "that is none", "of its own")
_DIALECT = re.compile(
    # In test names too. "To tell apart" is plain English.
    rf"(?<![a-z])(?:{'|'.join(word.replace(' ', '[ _]') for word in _WORDS)})(?![a-z]|[ _]apart)",
    re.IGNORECASE,
)
_PACKAGES: dict[str, int] = {
    "engine/edge": 1,
    "engine/messages": 5,
    "engine/pjsip": 3,
    "engine/processes": 2,
    "engine/store": 2,
    "media/ultravox": 11,
    "tests/api": 5,
    "tests/engine": 44,
    "tests/media": 50,
    "tests/sip": 54,
}


def _package(file: Path) -> str:
    """The first two folders of a file: ``engine/store`` for a migration, ``engine`` for a module of its top level."""
    return "/".join(file.relative_to(_ROOT).parts[:-1][:2])


def _counts() -> Counter[str]:
    counts: Counter[str] = Counter()
    for top in ("engine", "media", "api", "tests"):
        for file in (_ROOT / top).rglob("*.py"):
            if file != Path(__file__):
                counts[_package(file)] += len(_DIALECT.findall(file.read_text()))
    return counts


@pytest.mark.parametrize("package", sorted({*_PACKAGES, *_counts()}))
def test_no_package_gains_a_word_of_the_dialect(package: str) -> None:
    allowed, found = _PACKAGES.get(package, 0), _counts()[package]

    assert found <= allowed, f"{package} has {found} of {', '.join(_WORDS)}; at most {allowed}. Word it plainly."
    assert found == allowed, f"{package} has only {found} left: lower its number in _PACKAGES from {allowed}."


@pytest.mark.parametrize("text", ["who is told", "test_nobody_is_told", "A port of its own", "not as_yet", "Told once"])
def test_a_word_of_the_dialect_is_found(text: str) -> None:
    assert _DIALECT.search(text)


@pytest.mark.parametrize("text", ["told apart", "its own", "retells", "heedless", "it is yet to come"])
def test_other_words_are_not_dialect(text: str) -> None:
    assert not _DIALECT.search(text)
