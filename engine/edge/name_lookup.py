"""One question to the name servers at a time: cached, shared by all who ask it, and bounded in time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata

Kind = Literal["A", "AAAA", "SRV", "NAPTR"]
Records = tuple[dns.rdata.Rdata, ...]

TIME_LIMIT_S = 5.0
ROUNDS_S = (1.0, 1.5, 2.5)
"""How long each name server may take, in the first round, the second and the third."""

STALE_AFTER_S = 1.8
"""How long one who asks waits for news of records whose time is over before they are used (RFC 8767 §5)."""

MIN_TTL_S, MAX_TTL_S, MAX_NEGATIVE_TTL_S = 5.0, 3600.0, 60.0
MAX_STALE_S = 86_400.0
MAX_ENTRIES = 1024
MAX_IN_FLIGHT = 256
MAX_RECORDS = 64


class LookupFailed(Exception):
    """The name servers gave no records. ``str()`` is the reason, to stand behind "the name does not resolve: "."""


@dataclass(slots=True)
class _Entry:
    """What is known of one question until ``expires``: records, or why there are none.

    Records may be used until ``stale_until`` where the name servers do not answer.
    """

    expires: float
    records: Records = ()
    failure: str = ""
    stale_until: float = 0.0

    def result(self) -> Records:
        if self.failure:
            raise LookupFailed(self.failure)
        return self.records

    def usable_at(self, now: float) -> bool:
        return bool(self.records) and now < self.stale_until


class NameLookup:
    """Asks ``nameservers`` (address and port of each, in order of preference), and remembers what they said."""

    def __init__(
        self, nameservers: Callable[[], Sequence[tuple[str, int]]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._nameservers = nameservers
        self._clock = clock
        self._entries: OrderedDict[tuple[str, Kind], _Entry] = OrderedDict()
        self._in_flight: dict[tuple[str, Kind], asyncio.Task[_Entry]] = {}
        self._answered_last: tuple[str, int] | None = None

    async def ask(self, name: str, kind: Kind, *, wait_s: float = TIME_LIMIT_S) -> Records:
        """The records of a name, aliases followed; empty where the name has none of this kind.

        Records whose time is over are returned where the name servers do not answer. Raises ``LookupFailed``;
        the question goes on for others, and for the cache, when ``wait_s`` is over or the caller is cancelled.
        """
        key = (name.lower(), kind)
        entry = self._entries.get(key)
        now = self._clock()
        if entry is not None and now < entry.expires:
            self._entries.move_to_end(key)
            return entry.result()
        stale = entry if entry is not None and entry.usable_at(now) else None
        task = self._fetching(key)
        done, _ = await asyncio.wait({task}, timeout=min(wait_s, STALE_AFTER_S) if stale else wait_s)
        if not done and stale:
            stale.expires = self._clock() + MIN_TTL_S
            return stale.records
        if not done:
            raise LookupFailed(_silence(wait_s))
        if task.cancelled():
            raise LookupFailed("the process is stopping")
        return task.result().result()

    async def close(self) -> None:
        """End what is being asked; those who wait get ``LookupFailed``."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fetching(self, key: tuple[str, Kind]) -> asyncio.Task[_Entry]:
        task = self._in_flight.get(key)
        if task is None:
            if len(self._in_flight) >= MAX_IN_FLIGHT:
                raise LookupFailed(f"{MAX_IN_FLIGHT} other names are being looked up")
            task = asyncio.create_task(self._fetch(key))
            self._in_flight[key] = task
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        return task

    async def _fetch(self, key: tuple[str, Kind]) -> _Entry:
        """Ask, and remember the answer; without one the old records, if there are any, for ``MIN_TTL_S`` more."""
        old = self._entries.get(key)
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                entry = self._read(await self._response(*key))
        except (TimeoutError, LookupFailed) as error:
            now = self._clock()
            if old is not None and old.usable_at(now):
                entry = old
                entry.expires = now + MIN_TTL_S
            else:
                entry = _Entry(now + MIN_TTL_S, failure=str(error) or _silence(TIME_LIMIT_S))
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
        return entry

    async def _response(self, name: str, kind: Kind) -> dns.message.Message:
        """The first answer of a name server that says whether the records exist."""
        try:
            query = dns.message.make_query(dns.name.from_text(name), kind)
        except dns.exception.DNSException as error:
            raise LookupFailed("the name is too long (RFC 1035 §2.3.4)") from error
        servers = list(self._nameservers())
        if not servers:
            raise LookupFailed("there is no name server to ask")
        servers.sort(key=lambda server: server != self._answered_last)  # one that is dead costs a second once
        for patience_s in ROUNDS_S:
            failures = []
            for server in servers:
                response = await _exchange(query, server, patience_s)
                if isinstance(response, dns.message.Message):
                    self._answered_last = server
                    return response
                if response:
                    failures.append(response)
            if len(failures) == len(servers):
                raise LookupFailed(failures[0])
        raise LookupFailed(_silence(TIME_LIMIT_S))

    def _read(self, response: dns.message.Message) -> _Entry:
        now = self._clock()
        try:
            chain = dns.message.QueryMessage.resolve_chaining(response)  # type: ignore[arg-type]
        except dns.exception.DNSException as error:
            raise LookupFailed("the name server's answer makes no sense") from error
        records = tuple(chain.answer)[:MAX_RECORDS] if chain.answer is not None else ()
        longest_s = MAX_TTL_S if records else MAX_NEGATIVE_TTL_S
        expires = now + min(max(chain.minimum_ttl, MIN_TTL_S), longest_s)
        missing = "no such name (DNS)" if response.rcode() == dns.rcode.NXDOMAIN else ""
        return _Entry(expires, records, missing, expires + MAX_STALE_S)


async def _exchange(
    query: dns.message.Message, server: tuple[str, int], patience_s: float
) -> dns.message.Message | str:
    """The answer of one name server, by TCP where it does not fit a datagram; why it is none; "" for silence."""
    address, port = server
    try:
        response, _ = await dns.asyncquery.udp_with_fallback(
            query,
            address,
            timeout=patience_s,
            port=port,
            ignore_unexpected=True,
            ignore_errors=True,  # whoever forges an answer does not end the wait for the right one
            backend=dns.asyncbackend.get_backend("asyncio"),
        )
    except dns.exception.Timeout:
        return ""
    except (OSError, EOFError, dns.exception.DNSException) as error:
        return f"the name server {address} cannot be asked ({type(error).__name__})"
    if response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return response
    return f"the name server {address} failed ({dns.rcode.to_text(response.rcode())})"


def _silence(seconds: float) -> str:
    return f"the name servers did not answer within {seconds:g} s"
