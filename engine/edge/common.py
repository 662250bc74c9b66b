"""What both sides of the edge share: the ways out, its tables, and what is sent by it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from engine.edge.descriptions import Descriptions
from engine.edge.dialogs import Dialog, Dialogs, Flow
from engine.edge.registrations import Registrations
from engine.edge.rewriting import bracketed
from engine.edge.targets import Target
from engine.edge.transactions import LIFE_S, Transactions
from engine.messages.commands import TrunkAccount
from engine.messages.link import FORGET, KEEP

log = logging.getLogger("trunkline.edge")

_ANY_PORT = 9
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

    def keep(self, dialog: Dialog) -> None:
        """Have the dialog's process keep it, for the edge that comes after this one."""
        if dialog.link is not None:
            dialog.link.send(KEEP, dialog.dump())

    def forget(self, dialog: Dialog) -> None:
        """The dialog is over; it stays for as long as something may be repeated."""
        dialog.ended = True
        self._let_go(dialog)
        self._loop.call_later(LIFE_S, self.dialogs.drop, dialog)

    def drop(self, dialog: Dialog) -> None:
        """The dialog never came to be, or nobody will ask for it any more."""
        self._let_go(dialog)
        self.dialogs.drop(dialog)

    def _let_go(self, dialog: Dialog) -> None:
        """Have the dialog's process keep it no longer."""
        if dialog.link is not None and dialog.remotes:
            dialog.link.send(FORGET, f"{dialog.call_id} {dialog.local_tag}".encode())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done beside everything else; an error of it is logged."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def _address_of(self, name: str, trunk: TrunkAccount) -> str | None:
        try:
            # With a port, a name has only addresses to look up (RFC 3263 §4.2).
            targets = await self.ways.targets(f"sip:{name}:{_ANY_PORT}", trunk)
        except Unreached as error:
            log.info("the host of a session description has no address: %s", error)
            return None
        return targets[0].address if targets else None

    async def idle(self, timeout_s: float) -> None:
        """Wait until nothing is done beside any more, for ``timeout_s`` at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("the edge failed at one message", exc_info=task.exception())
