"""The settings of how a trunk expects numbers to be written and the caller to be named."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from engine.config.values import Callers, Section
from engine.sip.addressing import Addressing, IdentityHeader, check_header


class AddressingConfig(Section):
    """How the trunk wants numbers written and the caller named."""

    number_format: Literal["+e164", "e164"] = "+e164"
    """How numbers are written, the caller's too: ``+e164`` is +4930123456, ``e164`` is 4930123456."""
    strip_prefix: str = Field(default="", pattern=r"^(\+?[0-9]+)?$")
    """Removed from the start of the dialled number where it is there, such as ``+49``."""
    prefix: str = Field(default="", pattern=r"^[0-9*#+]*$")
    """Then put in front of every dialled number, such as ``0``."""
    user_phone: bool = False
    """Add ``;user=phone`` to every URI that is a number (RFC 3261 §19.1.1)."""
    from_user: str = Field(default="", pattern=r"^[A-Za-z0-9._+*-]*$")
    """The user in From, in place of the caller's number. Try your account's name here when the trunk answers 401 or
    403 although it is registered: some PBXs, such as Asterisk, find the account by it."""
    from_domain: str = Field(default="", pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?$")
    """The host in From and in the identity header, in place of the trunk's."""
    display_name: str = ""
    """The caller's name, in From and in the identity header."""
    identity: Literal["p-asserted-identity", "p-preferred-identity", "none"] = "p-asserted-identity"
    """The header that carries the caller's number beside From (RFC 3325)."""
    privacy: bool = False
    """Withhold the caller's number: an anonymous From and ``Privacy: id`` (RFC 3323)."""
    headers: dict[str, str] = Field(default={})
    """Headers to add to every INVITE, such as ``{ "X-Account" = "7" }``. Headers that Trunkline writes itself are
    refused."""
    callers: tuple[Callers, ...] = ()
    """The numbers that may call through this trunk, such as ``["+1415555*"]``. Other calls use the other trunks; a
    number that no trunk serves gets 422. Empty: every number."""

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
        """The settings as the SIP stack takes them."""
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
