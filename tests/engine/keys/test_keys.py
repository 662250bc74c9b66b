from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from engine.keys.keys import SCOPES, allows, digest, mint, usable
from engine.records import Environment

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize("environment", Environment)
def test_minted_secret_names_its_environment_and_ends_in_43_random_characters(environment: Environment) -> None:
    secret, key = mint(environment, "laptop", now=NOON)
    assert re.fullmatch(rf"tk_{environment}_[A-Za-z0-9_-]{{43}}", secret)
    assert key.environment is environment


def test_minted_key_keeps_nothing_of_the_secret_but_its_digest_and_start() -> None:
    secret, key = mint(Environment.LIVE, "laptop", now=NOON)
    assert key.digest == digest(secret) == hashlib.sha256(secret.encode()).hexdigest()
    assert key.prefix == secret[: len("tk_live_") + 6]
    assert secret not in repr(key)


def test_two_keys_have_nothing_in_common() -> None:
    (one, first), (two, second) = (mint(Environment.TEST, "laptop", now=NOON) for _ in range(2))
    assert one != two
    assert first.id != second.id


def test_defaults_are_every_scope_ten_requests_a_second_and_no_end() -> None:
    _, key = mint(Environment.TEST, "laptop", now=NOON)
    assert (key.scopes, key.rate_per_s, key.expires_at, key.created_at) == (frozenset("*"), 10.0, None, NOON)


@pytest.mark.parametrize("scopes", [(), ("voice",), ("voice:call", "voice:sing")])
def test_unknown_scope_or_none_is_refused(scopes: Collection[str]) -> None:
    with pytest.raises(ValueError, match="expected scopes among"):
        mint(Environment.TEST, "laptop", now=NOON, scopes=scopes)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_rate_that_is_not_positive_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="expected a rate above 0"):
        mint(Environment.TEST, "laptop", now=NOON, rate_per_s=rate)


def test_key_is_usable_until_the_moment_it_expires_unless_revoked() -> None:
    _, key = mint(Environment.TEST, "laptop", now=NOON, expires_at=NOON + timedelta(hours=1))
    assert usable(key, NOON + timedelta(minutes=59))
    assert not usable(key, NOON + timedelta(hours=1))
    assert not usable(replace(key, revoked_at=NOON), NOON)
    assert usable(replace(key, expires_at=None), NOON + timedelta(days=10_000))


def test_key_may_do_what_its_scopes_say_and_the_star_everything_but_manage_keys() -> None:
    _, caller = mint(Environment.TEST, "laptop", now=NOON, scopes=("voice:call",))
    _, anyone = mint(Environment.TEST, "laptop", now=NOON)
    assert {scope for scope in SCOPES if allows(caller, scope)} == {"voice:call"}
    assert {scope for scope in SCOPES if allows(anyone, scope)} == SCOPES - {"keys:manage"}
