"""Which trunk takes a call, and what each says of itself."""

from __future__ import annotations

import pytest

from engine.commands import TrunkAccount
from engine.errors import TrunkUnavailable
from engine.events import Registration
from engine.trunks import ConfiguredTrunks, Trunk, codec_rate_hz


def trunk(name: str, registrar: str = "") -> Trunk:
    account = TrunkAccount(name=name, uri=f"sip:{name}.example", codecs=("PCMU",), registrar=registrar)
    return Trunk(account=account, provider="sip")


def registration(name: str, code: int) -> Registration:
    return Registration(trunk=name, registered=code == 200, code=code, reason="why", expires_s=300)


def test_without_a_registrar_a_trunk_is_always_up() -> None:
    assert ConfiguredTrunks([trunk("main")]).pick("+14155550100").account.name == "main"


def test_a_registering_trunk_takes_calls_only_while_it_is_registered() -> None:
    trunks = ConfiguredTrunks([trunk("main", "sip:main.example")])
    with pytest.raises(TrunkUnavailable, match="main: registering"):
        trunks.pick("+14155550100")
    assert trunks.registration_changed(registration("main", 200))
    assert trunks.pick("+14155550100").account.name == "main"
    assert not trunks.registration_changed(registration("main", 200)), "a refresh is no change"
    assert trunks.registration_changed(registration("main", 403))
    with pytest.raises(TrunkUnavailable, match="main: registration failed: 403 why"):
        trunks.pick("+14155550100")


def test_the_first_trunk_that_is_up_is_picked() -> None:
    trunks = ConfiguredTrunks([trunk("first", "sip:first.example"), trunk("second")])
    assert trunks.pick("+14155550100").account.name == "second"
    trunks.registration_changed(registration("first", 200))
    assert trunks.pick("+14155550100").account.name == "first"
    trunks.registrations_lost()
    assert trunks.pick("+14155550100").account.name == "second"


def test_no_trunk_at_all_says_what_a_live_key_needs() -> None:
    with pytest.raises(TrunkUnavailable, match=r"\[\[trunks\]\]"):
        ConfiguredTrunks([]).pick("+14155550100")


@pytest.mark.parametrize(("codecs", "rate_hz"), [(("PCMU",), 8000), (("G722", "PCMU"), 16000), ((), 8000)])
def test_the_preferred_codec_decides_the_agents_rate(codecs: tuple[str, ...], rate_hz: int) -> None:
    assert codec_rate_hz(codecs) == rate_hz
