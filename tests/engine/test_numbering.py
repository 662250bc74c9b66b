from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.guard import GuardConfig
from engine.numbering import COUNTRIES, Numbered, NumberKind, load, look_up


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+14155551234", "US"), ("+16135550123", "CA"), ("+18095551234", "DO"), ("+18765551234", "JM"),
        ("+12465551234", "BB"), ("+16715551234", "GU"), ("+442079460123", "GB"), ("+447624123456", "IM"),
        ("+79261234567", "RU"), ("+77011234567", "KZ"), ("+4917612345678", "DE"), ("+38344123456", "XK"),
        ("+911123456789", "IN"),  # Delhi, though it begins with 112 at home
        ("+15551234567", "US"),  # not assigned yet
    ],
)  # fmt: skip
def test_number_has_a_country_also_where_several_share_a_code(number: str, country: str) -> None:
    found = look_up(number)
    assert found == Numbered(kind=NumberKind.ORDINARY, country=country, countries=frozenset({country}))


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("+19005551234", "premium-rate"), ("+19765551234", "premium-rate"), ("+14159761234", "premium-rate"),
        ("+14155551212", "premium-rate"), ("+449012345678", "premium-rate"), ("+33892123456", "premium-rate"),
        ("+979123456789", "premium-rate"), ("+491801234567", "shared-cost"), ("+80812345678", "shared-cost"),
        ("+15005550001", "personal"), ("+447012345678", "personal"), ("+878101234567890", "personal"),
        ("+870773112345", "satellite"), ("+8816123456789", "satellite"), ("+8821312345", "satellite"),
        ("+88312345678", "satellite"), ("+18005551234", "toll-free"),
        ("+1911", "emergency"), ("+112", "emergency"), ("+911", "emergency"), ("+1112", "emergency"),
        ("+44999", "emergency"), ("+44112", "emergency"), ("+19115551234", "emergency"), ("+11123456789", "emergency"),
        ("+49112345678", "emergency"), ("+86110123", "emergency"),
        ("+1411", "short-code"), ("+4911833", "short-code"), ("+44118118", "short-code"),
        ("+1", "invalid-number"), ("+999123456", "invalid-number"), ("+1415555123", "invalid-number"),
        ("+123456789012345", "invalid-number"), ("", "invalid-number"), ("14155551234", "invalid-number"),
        ("+1 415 555 1234", "invalid-number"), ("+14155551234\n", "invalid-number"), ("+١٤١٥٥٥٥١٢٣٤", "invalid-number"),
        ("+14155551234;ext=9", "invalid-number"), ("tel:+14155551234", "invalid-number"),
    ],
)  # fmt: skip
def test_number_that_is_not_an_ordinary_one_is_known_for_what_it_is(number: str, kind: str) -> None:
    assert look_up(number).kind == kind


def test_toll_free_number_leads_to_every_country_that_shares_its_plan_and_is_of_the_largest() -> None:
    found = look_up("+18005551234")
    assert {"US", "CA", "JM"} <= found.countries
    assert found.country == "US"


@given(st.from_regex(r"\+[1-9][0-9]{1,14}", fullmatch=True) | st.text(max_size=20))
def test_no_text_is_an_error_and_countries_are_countries(number: str) -> None:
    found = look_up(number)
    assert found.countries <= COUNTRIES


def test_kinds_that_can_be_blocked_are_those_that_are_neither_ordinary_nor_refused_always() -> None:
    (kinds, _), free = get_args(GuardConfig.model_fields["blocked_types"].annotation), NumberKind
    never = {free.ORDINARY, free.EMERGENCY, free.SHORT_CODE, free.INVALID}
    assert set(get_args(kinds)) == {kind.value for kind in NumberKind if kind not in never}


def test_every_plan_can_be_loaded() -> None:
    load()
