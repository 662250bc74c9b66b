"""How a trunk wants numbers written and the caller named, as settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from engine.config.values import Callers, Section
from engine.sip.addressing import Addressing, IdentityHeader, check_header


class AddressingConfig(Section):
    """The part of a trunk's settings that becomes its ``Addressing``."""

    number_format: Literal["+e164", "e164"] = "+e164"
    """With or without the plus; for the caller's number too."""
    strip_prefix: str = Field(default="", pattern=r"^(\+?[0-9]+)?$")
    """Taken off the dialled number where it begins so, such as ``+49``."""
    prefix: str = Field(default="", pattern=r"^[0-9*#+]*$")
    """Then put in front of it, whatever it is."""
    user_phone: bool = False
    """``;user=phone`` in every URI that is a number (RFC 3261 §19.1.1)."""
    from_user: str = Field(default="", pattern=r"^[A-Za-z0-9._+*-]*$")
    """Stands in From in place of the caller's number."""
    from_domain: str = Field(default="", pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?$")
    """Stands in From and the identity header in place of the trunk's host."""
    display_name: str = ""
    identity: Literal["p-asserted-identity", "p-preferred-identity", "none"] = "p-asserted-identity"
    """Which header carries the caller's number beside From (RFC 3325)."""
    privacy: bool = False
    """Have the number withheld: ``Privacy: id`` and an anonymous From (RFC 3323)."""
    headers: dict[str, str] = Field(default={})
    """Added to every INVITE."""
    callers: tuple[Callers, ...] = ()
    """The numbers that may call through the trunk. Empty: every number."""

    @field_validator("display_name")
    @classmethod
    def _is_one_line(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("holds a line break or another control character")
        return name

    @field_validator("headers")
    @classmethod
    def _may_be_added(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            check_header(name, value)
        if len({name.lower() for name in headers}) < len(headers):
            raise ValueError("a header is named twice")
        return headers

    def addressing(self) -> Addressing:
        """As the SIP stack takes them."""
        return Addressing(
            plus=self.number_format == "+e164",
            strip_prefix=self.strip_prefix,
            prefix=self.prefix,
            user_phone=self.user_phone,
            from_user=self.from_user,
            from_domain=self.from_domain,
            display_name=self.display_name,
            header=IdentityHeader(self.identity),
            privacy=self.privacy,
            headers=tuple(self.headers.items()),
        )
