"""The settings of the guard against toll fraud: where calls may go, who may place them, and how many."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from engine.config.values import Callers, Section

ANYWHERE = "*"


class GuardConfig(Section):
    """What live calls are refused for. A quota of 0 means no quota."""

    countries: tuple[str, ...] = ()
    """ISO 3166-1 codes; ``"*"``: everywhere. Empty: the country of the ``from`` number."""
    blocked_types: tuple[
        Literal["premium-rate", "shared-cost", "personal", "satellite", "toll-free", "pager", "universal", "voicemail"],
        ...,
    ] = ("premium-rate", "shared-cost", "personal", "satellite")
    """Kinds of number. Emergency numbers, short codes and what cannot be a number are refused always."""
    callers: tuple[Callers, ...] = ()
    """The ``from`` numbers. Empty: every number."""
    key_calls_per_minute: int = Field(default=0, ge=0)
    key_calls_per_hour: int = Field(default=0, ge=0)
    key_calls_per_day: int = Field(default=0, ge=0)
    key_concurrent_calls: int = Field(default=0, ge=0)
    key_minutes_per_day: int = Field(default=0, ge=0)
    """What calls lasted; one that is live counts with its ``maxDuration``."""
    destination_calls_per_minute: int = Field(default=0, ge=0)
    destination_calls_per_hour: int = Field(default=0, ge=0)
    destination_calls_per_day: int = Field(default=0, ge=0)
    destination_concurrent_calls: int = Field(default=0, ge=0)

    @field_validator("countries")
    @classmethod
    def _exist(cls, countries: tuple[str, ...]) -> tuple[str, ...]:
        from engine.numbering import COUNTRIES  # takes a fifth of a second, which most commands need not wait

        for country in countries:
            if country != ANYWHERE and country not in COUNTRIES:
                hint = "; the United Kingdom is GB" if country == "UK" else ""
                raise ValueError(f'expected ISO 3166-1 codes such as "US", or "*", not {country!r}{hint}')
        return countries
