"""Which trunks are tried, in which order, and what each says of itself."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from engine.errors import TrunkUnavailable
from engine.messages.events import Registration
from engine.sip.causes import refusal
from engine.trunks.trunks import ConfiguredTrunks, Trunk, offered_rate_hz, order
from tests.engine import samples


def trunk(name: str, registrar: str = "", **settings: int) -> Trunk:
    return samples.trunk(name=name, registrar=registrar, username="me", **settings)


def registration(name: str, code: int) -> Registration:
    return Registration(trunk=name, registered=code == 200, code=code, reason="why", expires_s=300)


def test_without_a_registrar_a_trunk_is_always_up() -> None:
    assert ConfiguredTrunks([trunk("main")]).route("+14155550100") == ("main",)


def test_a_registering_trunk_takes_calls_only_while_it_is_registered() -> None:
    trunks = ConfiguredTrunks([trunk("main", "sip:main.example")])
    with pytest.raises(TrunkUnavailable, match="main: registering"):
        trunks.route("+14155550100")
    assert trunks.note(registration("main", 200))
    assert trunks.route("+14155550100") == ("main",)
    assert not trunks.note(registration("main", 200)), "a refresh is no change"
    assert trunks.note(registration("main", 403))
    with pytest.raises(TrunkUnavailable, match="main: registration failed: 403 why"):
        trunks.route("+14155550100")


def test_trunks_that_are_up_are_tried_by_priority() -> None:
    trunks = ConfiguredTrunks(
        [trunk("first", "sip:first.example"), trunk("third", priority=2), trunk("second", priority=1)]
    )
    assert trunks.route("+14155550100") == ("second", "third")
    trunks.note(registration("first", 200))
    assert trunks.route("+14155550100") == ("first", "second", "third")
    trunks.registrations_lost()
    assert trunks.route("+14155550100") == ("second", "third")


def test_among_equals_each_is_first_as_often_as_its_weight_says_and_all_are_tried() -> None:
    rng = random.Random(1)
    equals = [trunk("a", weight=6), trunk("b", weight=3), trunk("c", weight=1)]
    routes = [tuple(each.name for each in order(equals, rng.random)) for _ in range(4000)]
    assert all(sorted(route) == ["a", "b", "c"] for route in routes)
    first = Counter(route[0] for route in routes)
    assert [round(first[name] / 400) for name in "abc"] == [6, 3, 1]


@pytest.mark.parametrize(
    ("code", "retry_after_s", "out"),
    [(503, 30, True), (429, 30, True), (503, None, False), (429, None, False), (500, 30, False)],
)
def test_only_a_503_or_429_with_retry_after_takes_a_trunk_out(code: int, retry_after_s: int | None, out: bool) -> None:
    trunks = ConfiguredTrunks([trunk("main")])
    trunks.failed("main", refusal(code, "", retry_after_s=retry_after_s))
    assert trunks.up("main") is not out


def test_no_trunk_at_all_says_what_a_live_key_needs() -> None:
    with pytest.raises(TrunkUnavailable, match=r"\[\[trunks\]\]"):
        ConfiguredTrunks([]).route("+14155550100")


@pytest.mark.parametrize(("codecs", "rate_hz"), [(("PCMU",), 8000), (("G722", "PCMU"), 16000), ((), 8000)])
def test_the_rate_offered_is_the_first_codecs(codecs: tuple[str, ...], rate_hz: int) -> None:
    assert offered_rate_hz(codecs) == rate_hz
