"""The settings of the guard against toll fraud: where calls may go, who may place them, and how many."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from engine.config.values import Callers, Section

ANYWHERE = "*"


class GuardConfig(Section):
    """Which live calls are refused (toll fraud). A quota of 0 means no quota."""

    countries: tuple[str, ...] = ()
    """The countries that calls may go to, as ISO 3166-1 codes: ``["US", "CA"]``. ``["*"]`` allows all of them. Empty:
    the country of the ``from`` number."""
    blocked_types: tuple[
        Literal["premium-rate", "shared-cost", "personal", "satellite", "toll-free", "pager", "universal", "voicemail"],
        ...,
    ] = ("premium-rate", "shared-cost", "personal", "satellite")
    """The kinds of number that are refused. Emergency numbers, short codes and numbers of a length that their country
    does not have are always refused."""
    callers: tuple[Callers, ...] = ()
    """The ``from`` numbers that may place calls, such as ``["+14155550100", "+1415555*"]``. Empty: every number."""
    key_calls_per_minute: int = Field(default=0, ge=0)
    """Calls of each API key in any 60 seconds."""
    key_calls_per_hour: int = Field(default=0, ge=0)
    """Calls of each API key in any hour."""
    key_calls_per_day: int = Field(default=0, ge=0)
    """Calls of each API key in any 24 hours."""
    key_concurrent_calls: int = Field(default=0, ge=0)
    """Live calls of each API key."""
    key_minutes_per_day: int = Field(default=0, ge=0)
    """Minutes that each API key's calls lasted in any 24 hours. A live call counts with its ``maxDuration``."""
    destination_calls_per_minute: int = Field(default=0, ge=0)
    """Calls to each number in any 60 seconds."""
    destination_calls_per_hour: int = Field(default=0, ge=0)
    """Calls to each number in any hour."""
    destination_calls_per_day: int = Field(default=0, ge=0)
    """Calls to each number in any 24 hours."""
    destination_concurrent_calls: int = Field(default=0, ge=0)
    """Live calls to each number."""

    @field_validator("countries")
    @classmethod
    def _exist(cls, countries: tuple[str, ...]) -> tuple[str, ...]:
        from engine.numbering import COUNTRIES  # takes a fifth of a second, which most commands do not need

        for country in countries:
            if country != ANYWHERE and country not in COUNTRIES:
                hint = "; the United Kingdom is GB" if country == "UK" else ""
                raise ValueError(f'expected ISO 3166-1 codes such as "US", or "*", not {country!r}{hint}')
        return countries
