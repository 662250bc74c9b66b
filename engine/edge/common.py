"""What both sides of the edge share: the ways out, its tables, and what is sent by it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from engine.edge.descriptions import Descriptions
from engine.edge.dialogs import Dialog, Dialogs, Flow, Remote, Work
from engine.edge.registrations import Registrations
from engine.edge.rewriting import bracketed
from engine.edge.targets import Target
from engine.edge.transactions import LIFE_S, Transactions
from engine.messages.commands import TrunkAccount
from engine.messages.link import FORGET, KEEP
from engine.sip.message import Request, Response
from engine.sip.sdp import Unreadable

log = logging.getLogger("trunkline.edge")

_MOST_WAITING: Final = 64
_ANY_PORT: Final = 9
_TOO_LONG: Final = "the session description is longer than PJSIP takes"
_LONGEST_DESCRIPTION: Final = 2800
"""PJSIP reads messages of 4,000 bytes; its fields need the rest."""

Note = Callable[[str, str, bytes, Flow], None]


class Unreached(Exception):
    """No message could be sent. ``kind`` is ``name``, ``connect``, ``tls``, ``certificate``, ``uri`` or ``canceled``;
    ``what`` is a sentence and ``hint`` says what to do."""

    def __init__(self, kind: str, what: str, hint: str = "") -> None:
        self.kind, self.what, self.hint = kind, what, hint
        super().__init__(what)


class Ways(Protocol):
    """The ways to trunks."""

    async def targets(self, uri: str, trunk: TrunkAccount) -> list[Target]:
        """The addresses of a next hop, in the order to try them (RFC 3263). Raises ``Unreached``."""
        ...

    async def open(self, target: Target, trunk: TrunkAccount) -> Flow:
        """A flow to the target. Raises ``Unreached``."""
        ...

    def failed(self, target: Target) -> None:
        """Try it last for a while."""

    def answered(self, target: Target) -> None:
        """Forget that it failed."""


class Common:
    """Shared by the sides of one edge. ``note`` is called with each message that crosses the network for a dialog: its
    Call-ID, ``>`` or ``<``, the bytes and the flow."""

    def __init__(self, trunks: Mapping[str, TrunkAccount], ways: Ways) -> None:
        self.trunks = trunks
        self.ways = ways
        self.dialogs = Dialogs()
        self.transactions = Transactions()
        self.registrations = Registrations()
        self.descriptions = Descriptions(self._address_of, self.now_s)
        self.note: Note = lambda call_id, direction, data, flow: None
        self.abandoned: Callable[[Dialog, Remote], None] = lambda dialog, remote: None
        """A far end has answered, and no PJSIP takes the call."""
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def now_s(self) -> float:
        return self._loop.time()

    def contact(self, dialog: Dialog, flow: Flow) -> str:
        """Our Contact on the flow (RFC 3261 §8.1.1.8)."""
        host, port = flow.local
        user = f"{dialog.contact_user}@" if dialog.contact_user else ""
        transport = "" if flow.transport == "udp" else f";transport={flow.transport}"
        return f"<sip:{user}{bracketed(host)}:{port}{transport}>"

    def send(self, dialog: Dialog, flow: Flow, data: bytes) -> None:
        """Send a message of the dialog."""
        self.note(dialog.call_id, ">", data, flow)
        flow.send(data)

    async def answer(self, message: Response, our_offer: bytes, trunk: TrunkAccount) -> tuple[bytes, str]:
        """The SDP of an answer to ``our_offer`` as PJSIP is given it, and why it cannot be used, as a clause."""
        await self._resolve(message, trunk)
        body, unusable = self.descriptions.of_answer(message, our_offer)
        return (b"", _TOO_LONG) if len(body) > _LONGEST_DESCRIPTION else (body, unusable)

    async def offer(self, request: Request, trunk: TrunkAccount) -> bytes:
        """The SDP of an offer as PJSIP is given it. Raises ``Unreadable``."""
        await self._resolve(request, trunk)
        body = self.descriptions.of_offer(request)
        if len(body) > _LONGEST_DESCRIPTION:
            raise Unreadable(_TOO_LONG)
        return body

    async def _resolve(self, message: Request | Response, trunk: TrunkAccount) -> None:
        if (name := self.descriptions.name_in(message)) is not None:
            await self.descriptions.resolve(name, trunk)

    async def _address_of(self, name: str, trunk: TrunkAccount) -> str | None:
        try:
            # With a port, a name has only addresses to look up (RFC 3263 §4.2).
            targets = await self.ways.targets(f"sip:{name}:{_ANY_PORT}", trunk)
        except Unreached as error:
            log.info("the host of a session description has no address: %s", error)
            return None
        return targets[0].address if targets else None

    def in_turn(self, dialog: Dialog, work: Work) -> None:
        """Do ``work`` for the dialog once what came before is done: a BYE must not overtake the 200 before it. Beyond
        what may wait, messages are dropped, and sent again by the far end."""
        if dialog.busy:
            if len(dialog.waiting) < _MOST_WAITING:
                dialog.waiting.append(work)
            return
        if (pending := work()) is not None:
            dialog.busy = True
            self.spawn(self._turns(dialog, pending))

    async def _turns(self, dialog: Dialog, pending: Coroutine[Any, Any, None] | None) -> None:
        while True:
            try:
                if pending is not None:
                    await pending
                if not dialog.waiting:
                    break
                pending = None
                pending = dialog.waiting.popleft()()
            except Exception:
                log.exception("a SIP message could not be served")
        dialog.busy = False

    def keep(self, dialog: Dialog) -> None:
        """Have the dialog's process keep it, for the edge that comes after this one."""
        if dialog.link is not None and not dialog.ended:
            dialog.link.send(KEEP, dialog.dump())

    def forget(self, dialog: Dialog) -> None:
        """The dialog is over; it stays for as long as something may be repeated."""
        if dialog.ended:
            return
        dialog.ended = True
        if dialog.link is not None:
            dialog.link.send(FORGET, f"{dialog.call_id} {dialog.local_tag}".encode())
        self._loop.call_later(LIFE_S, self.dialogs.drop, dialog)

    def drop(self, dialog: Dialog) -> None:
        """The dialog never began, or is over at once: nothing of it comes any more."""
        self.forget(dialog)
        self.dialogs.drop(dialog)

    def hung_up(self, dialog: Dialog, remote: Remote) -> None:
        """A BYE was accepted. Other far ends of a forked INVITE may still talk."""
        remote.ended = True
        if dialog.over and not dialog.ended:
            self.forget(dialog)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done beside everything else; an error of it is logged."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def idle(self, timeout_s: float) -> None:
        """Wait until nothing is done beside any more, for ``timeout_s`` at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("the edge failed at one message", exc_info=task.exception())
