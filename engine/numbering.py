"""The numbering plans: whether an E.164 number is possible, its country and its kind.

Google's libphonenumber (``phonenumbers``) knows the plans, but treats every number as one of the public network. This
module also finds numbers that a trunk could take for an emergency number or a short code.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberType, ValidationResult

COUNTRIES = frozenset(phonenumbers.SUPPORTED_REGIONS)
"""ISO 3166-1 codes of all countries with numbers, and ``XK`` for Kosovo."""

_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_SATELLITE = {870, 881, 882, 883}
"""Inmarsat, the satellite systems, and the "international networks": satellites and premium resellers (ITU-T E.164)."""
_UPT = 878
"""Universal personal telecommunications."""
_NANP = 1
_NANP_PREMIUM = re.compile(r"900\d{7}|976\d{7}|\d{3}976\d{4}|\d{3}5551212")
"""Libphonenumber knows only 900. 976 in any area and directory assistance, 555-1212, are charged the same way."""


class NumberKind(enum.StrEnum):
    """The kind of a number, which decides how a call to it is charged."""

    ORDINARY = "ordinary"
    PREMIUM_RATE = "premium-rate"
    SHARED_COST = "shared-cost"
    PERSONAL = "personal"
    SATELLITE = "satellite"
    TOLL_FREE = "toll-free"
    PAGER = "pager"
    UNIVERSAL = "universal"
    VOICEMAIL = "voicemail"
    EMERGENCY = "emergency"
    SHORT_CODE = "short-code"
    INVALID = "invalid-number"


_KINDS = {
    PhoneNumberType.PREMIUM_RATE: NumberKind.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST: NumberKind.SHARED_COST,
    PhoneNumberType.PERSONAL_NUMBER: NumberKind.PERSONAL,
    PhoneNumberType.TOLL_FREE: NumberKind.TOLL_FREE,
    PhoneNumberType.PAGER: NumberKind.PAGER,
    PhoneNumberType.UAN: NumberKind.UNIVERSAL,
    PhoneNumberType.VOICEMAIL: NumberKind.VOICEMAIL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """``country`` is the country of the number's owners, if it has one. ``countries`` are those that a call to it can
    reach; for a toll-free number, all countries that share its plan."""

    kind: NumberKind
    country: str | None = None
    countries: frozenset[str] = frozenset()


def look_up(number: str) -> Numbered:
    """Look up ``number`` (E.164, with its plus) in the plans; about 0.1 ms once its country was seen before."""
    if not _E164.fullmatch(number):
        return Numbered(kind=NumberKind.INVALID)
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return Numbered(kind=_unlike_a_number(number, None, number[1:]))
    plan = parsed.country_code or 0
    country = phonenumbers.region_code_for_number(parsed)
    if country is None:  # not assigned, or only recently: the country with most of the plan
        country = phonenumbers.region_code_for_country_code(plan)
    national = phonenumbers.national_significant_number(parsed)
    if not phonenumbers.is_valid_number(parsed):
        # A valid number may begin like an emergency number: +91 112… is Delhi. A trunk may take an invalid one for it.
        kind = _unlike_a_number(number, country, national)
        if kind is not NumberKind.INVALID:
            return Numbered(kind=kind)
        if phonenumbers.is_possible_number_with_reason(parsed) != ValidationResult.IS_POSSIBLE:
            return Numbered(kind=NumberKind.INVALID)
    kind = _kind(parsed, national)
    shared = kind is NumberKind.TOLL_FREE
    countries = COUNTRIES & frozenset(phonenumbers.region_codes_for_country_code(plan) if shared else (country,))
    return Numbered(kind=kind, country=country if country in COUNTRIES else None, countries=countries)


def load() -> None:
    """Read every country's plan, so that no country's first number has to wait for it. Takes half a second."""
    for country in COUNTRIES:
        PhoneMetadata.metadata_for_region(country, None)


def _kind(number: PhoneNumber, national: str) -> NumberKind:
    if number.country_code in _SATELLITE:
        return NumberKind.SATELLITE
    if number.country_code == _UPT:
        return NumberKind.PERSONAL
    if number.country_code == _NANP and _NANP_PREMIUM.fullmatch(national):
        return NumberKind.PREMIUM_RATE
    return _KINDS.get(phonenumbers.number_type(number), NumberKind.ORDINARY)


def _unlike_a_number(number: str, country: str | None, national: str) -> NumberKind:
    """The kind of digits that are no valid number: with their country code or without it, in that country or in any
    country with that code."""
    country = country if country in COUNTRIES else "US"
    if any(phonenumbers.connects_to_emergency_number(digits, country) for digits in (national, number[1:])):
        return NumberKind.EMERGENCY
    short = PhoneNumber(country_code=phonenumbers.country_code_for_region(country), national_number=int(national or 0))
    return NumberKind.SHORT_CODE if phonenumbers.is_valid_short_number(short) else NumberKind.INVALID
