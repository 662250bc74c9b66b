"""The session descriptions of far ends as PJSIP is given them: cleaned, names resolved, or why they cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from engine.messages.commands import TrunkAccount
from engine.sip.body import session_description
from engine.sip.message import Request, Response
from engine.sip.sdp import SessionDescription, Unreadable, clean, read

log = logging.getLogger("trunkline.edge")

OUR_OFFER: Final = b"v=0\r\nm=audio 9 RTP/AVP 0\r\n"
"""An offer of ours in short, where the one that was sent is not kept: one section of audio."""
_RESOLVE_S: Final = 2.0
_KEPT_S: Final = 60.0
_MOST_NAMES: Final = 256


AddressOf = Callable[[str, TrunkAccount], Awaitable[str | None]]
"""Finds an address of a name; None where it has none."""


class Descriptions:
    """All of one edge. A name in a ``c=`` line is looked up here: PJSIP would block on it."""

    def __init__(self, address_of: AddressOf, now_s: Callable[[], float]) -> None:
        self._address_of = address_of
        self._now_s = now_s
        self._addresses: dict[str, tuple[str | None, float]] = {}

    def name_in(self, message: Request | Response) -> str | None:
        """The name that has to be resolved before the message's description can be used."""
        try:
            description = _description(message)
        except Unreadable:
            return None
        name = description.host_to_resolve if description is not None else None
        known = self._addresses.get(name or "")
        return name if known is None or known[1] < self._now_s() else None

    async def resolve(self, name: str, trunk: TrunkAccount) -> None:
        """Look a name up; whether it was found or not, ``name_in`` does not ask for it again soon."""
        address = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RESOLVE_S):
                address = await self._address_of(name, trunk)
        if len(self._addresses) >= _MOST_NAMES:
            self._addresses.clear()
        self._addresses[name] = (address, self._now_s() + _KEPT_S)

    def of_answer(self, response: Response, our_offer: bytes) -> tuple[bytes, str]:
        """What PJSIP is given of a response to ``our_offer`` (empty: the response has the offer), and why it cannot be
        used, as a clause; either may be empty."""
        try:
            description = _description(response)
            if description is None:
                return b"", "it has no session description"
            offered = [section.kind for section in read(our_offer).sections] if our_offer else None
            written = clean(self._resolved(description), offered=offered)
        except Unreadable as error:
            log.info("a session description cannot be read: %s", error)
            return b"", str(error)
        has_codecs = any(section.live and section.connection is not None for section in description.sections)
        return written, "" if has_codecs else description.without_audio or ""

    def of_offer(self, message: Request | Response) -> bytes:
        """The SDP of a request as PJSIP is given it; nothing without any. Raises ``Unreadable``."""
        description = _description(message)
        return clean(self._resolved(description)) if description is not None else b""

    def _resolved(self, description: SessionDescription) -> SessionDescription:
        address, _ = self._addresses.get(description.host_to_resolve or "", (None, 0.0))
        return description.with_address(address) if address is not None else description


def _description(message: Request | Response) -> SessionDescription | None:
    body = session_description(message.first("Content-Type") or "", message.body)
    return read(body) if body else None
