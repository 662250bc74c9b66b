"""From the host of a SIP URI to the addresses to try, in their order (RFC 3263 §4, RFC 2782)."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from engine.edge.machine_names import MachineNames
from engine.edge.name_lookup import Kind, LookupFailed, NameLookup, Records
from engine.edge.targets import Target, Transport
from engine.errors import TrunklineError

TIME_LIMIT_S = 5.0
SERVICE_LIMIT_S = 2.5
"""How long NAPTR and SRV may take: some routers' name servers never answer them, and the addresses must follow."""

IPV6_GRACE_S = 0.3
"""How long an answer about IPv6 is waited for once the IPv4 addresses are there."""

OTHERS_GRACE_S = 1.0
"""How long one SRV target's addresses are waited for where another's are there."""

MAX_SRV, MAX_ADDRESSES, MAX_TARGETS = 32, 16, 32

_SRV_PREFIX: Mapping[Transport, str] = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
_DEFAULT_PORT: Mapping[Transport, int] = {"udp": 5060, "tcp": 5060, "tls": 5061}
_NAPTR_SERVICE: Mapping[str, Transport] = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
_LABEL = frozenset(string.ascii_letters + string.digits + "-_")


class NameUnresolved(TrunklineError):
    """A name leads to no address. ``why`` is a clause without a full stop."""

    def __init__(self, name: str, why: str) -> None:
        self.name, self.why = _shown(name), why
        super().__init__(f"{self.name} does not resolve: {why}")


@dataclass(frozen=True, slots=True)
class _Service:
    """Where SRV says that the service is; not yet an address."""

    host: str
    port: int
    transport: Transport


class Resolver:
    """Resolves hosts by the machine's hosts file and by DNS. ``hosts`` gives addresses by lower-case name.

    A name of the hosts file is never asked of DNS.
    """

    def __init__(
        self,
        lookup: NameLookup,
        hosts: Callable[[], Mapping[str, tuple[str, ...]]],
        *,
        ipv6: bool = True,
        random_number: Callable[[int, int], int] = random.randint,
    ) -> None:
        self._lookup = lookup
        self._hosts = hosts
        self._ipv6 = ipv6
        self._random_number = random_number

    @classmethod
    def of_machine(cls, *, ipv6: bool = True) -> Resolver:
        """The resolver that /etc/hosts and /etc/resolv.conf describe; changes of these count at once."""
        names = MachineNames()
        return cls(NameLookup(names.nameservers), names.hosts, ipv6=ipv6)

    async def close(self) -> None:
        await self._lookup.close()

    async def resolve(
        self,
        host: str,
        *,
        port: int | None = None,
        transport: Transport | None = None,
        secure: bool = False,
        naptr: bool = False,
    ) -> list[Target]:
        """The places of a host in the order to try, never empty and at most ``MAX_TARGETS``; IPv4 before IPv6.

        ``port`` and ``transport`` are the URI's, ``secure`` says that it is a sips: URI. An address needs no lookup,
        a port leaves only addresses to look up. Without either SRV decides, and where there is none the default port;
        without a transport NAPTR before it, if ``naptr``. Raises ``NameUnresolved`` after ``TIME_LIMIT_S`` at most.
        """
        host = host.removeprefix("[").removesuffix("]")
        if secure:
            transport = "tls"
        fallback: Transport = transport or "udp"
        if address := _address(host):
            return [Target(address, port or _DEFAULT_PORT[fallback], fallback, host)]
        name = _checked(host)
        plain = _Service(name, port or _DEFAULT_PORT[fallback], fallback)
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                services = [plain]
                if port is None and name.lower() not in self._hosts():
                    services = await self._services(name, transport, naptr=naptr) or services
                return await self._targets(name, services)
        except TimeoutError:
            raise NameUnresolved(name, f"the name servers did not answer within {TIME_LIMIT_S:g} s") from None

    async def _services(self, name: str, transport: Transport | None, *, naptr: bool) -> list[_Service]:
        """What NAPTR and SRV say of the first transport that they know; empty where they say nothing in time.

        Raises ``NameUnresolved`` where SRV says that the ``transport`` is not offered.
        """
        try:
            async with asyncio.timeout(SERVICE_LIMIT_S):
                wanted = [(_SRV_PREFIX[transport] + "." + name, transport)] if transport else []
                if not wanted and naptr:
                    wanted = await self._naptr(name)
                if not wanted:
                    wanted = [(f"{prefix}.{name}", each) for each, prefix in _SRV_PREFIX.items()]
                answers = await asyncio.gather(*(self._asked(service, "SRV") for service, _ in wanted))
        except TimeoutError:
            return []
        found = [_places(answer, each, self._random_number) for answer, (_, each) in zip(answers, wanted, strict=True)]
        if transport and found[0] is None:
            raise NameUnresolved(name, f"it offers no SIP over {transport.upper()} (DNS SRV)")
        return next((places for places in found if places), [])

    async def _naptr(self, name: str) -> list[tuple[str, Transport]]:
        """The SRV names of the transports that we speak, the preferred first (RFC 3263 §4.1)."""
        records = cast("tuple[NAPTR, ...]", await self._asked(name, "NAPTR"))
        spoken = [
            (record, _NAPTR_SERVICE[service])
            for record in records
            if (service := record.service.decode("ascii", "replace").upper()) in _NAPTR_SERVICE
            if record.flags.lower() == b"s"
        ]
        spoken.sort(key=lambda pair: (pair[0].order, pair[0].preference))
        return [(record.replacement.to_text(omit_final_dot=True), transport) for record, transport in spoken[:8]]

    async def _targets(self, name: str, services: list[_Service]) -> list[Target]:
        """The addresses of the services. Raises ``NameUnresolved`` where none has one."""
        hosts = list(dict.fromkeys(service.host for service in services))
        found = await self._all_addresses(hosts)
        targets = [
            Target(address, service.port, service.transport, name)
            for service in services
            if isinstance(addresses := found.get(service.host), list)
            for address in addresses
        ]
        if targets:
            return list(dict.fromkeys(targets))[:MAX_TARGETS]
        first, why = next(iter(found.items()))
        raise NameUnresolved(name, str(why) if first == name else f"its SRV target {first} has no address: {why}")

    async def _all_addresses(self, hosts: list[str]) -> dict[str, list[str] | LookupFailed]:
        """The addresses of each host, or why it has none; a host that is slow is left out where another is there."""
        asked = {host: asyncio.create_task(self._addresses(host)) for host in hosts}
        try:
            _, waiting = await asyncio.wait(asked.values(), timeout=OTHERS_GRACE_S)
            while waiting and not any(task.done() and isinstance(task.result(), list) for task in asked.values()):
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return {host: task.result() for host, task in asked.items() if task.done()}
        finally:
            for task in asked.values():
                task.cancel()

    async def _addresses(self, host: str) -> list[str] | LookupFailed:
        """The addresses of a name, IPv4 first, or why it has none."""
        known = self._hosts().get(host.lower())
        if known is not None:
            usable = [address for address in known if self._ipv6 or ":" not in address]
            return sorted(usable, key=lambda address: ":" in address) or LookupFailed(
                "it has IPv6 addresses only (hosts file)"
            )
        asked = [asyncio.create_task(self._outcome(host, kind)) for kind in self._address_kinds()]
        try:
            ipv4 = await asked[0]
            grace_s = IPV6_GRACE_S if isinstance(ipv4, tuple) and ipv4 else None
            await asyncio.wait(asked, timeout=grace_s)
            outcomes = [task.result() for task in asked if task.done()]
        finally:
            for task in asked:
                task.cancel()
        records = [record for outcome in outcomes if isinstance(outcome, tuple) for record in outcome]
        addresses = [record.to_text() for record in records][:MAX_ADDRESSES]
        failures = (outcome for outcome in outcomes if isinstance(outcome, LookupFailed))
        return addresses or next(failures, LookupFailed("it has no address (DNS)"))

    def _address_kinds(self) -> tuple[Kind, ...]:
        return ("A", "AAAA") if self._ipv6 else ("A",)

    async def _outcome(self, name: str, kind: Kind) -> Records | LookupFailed:
        try:
            return await self._lookup.ask(name, kind)
        except LookupFailed as failure:
            return failure

    async def _asked(self, name: str, kind: Kind) -> Records:
        """The records; none where the lookup failed: a name without SRV is still a name."""
        outcome = await self._outcome(name, kind)
        return outcome if isinstance(outcome, tuple) else ()


def _places(records: Records, transport: Transport, random_number: Callable[[int, int], int]) -> list[_Service] | None:
    """The places of SRV records in the order to try; None for "decidedly not available" (a target of ".")."""
    services = cast("tuple[SRV, ...]", records)
    if len(services) == 1 and services[0].target.to_text() == ".":
        return None
    ordered = in_order(services, random_number)
    places = ((record.target.to_text(omit_final_dot=True), record.port) for record in ordered)
    return [_Service(host, port, transport) for host, port in places if port and not _fault(host)]


def in_order(records: Iterable[SRV], random_number: Callable[[int, int], int] = random.randint) -> list[SRV]:
    """SRV records by priority, and by weighted chance among those of one priority (RFC 2782).

    ``random_number`` returns a number between two, both included.
    """
    # Weight 0 stands before the others, as the RFC's procedure has it.
    left = sorted(records, key=lambda record: (record.priority, record.weight))[:MAX_SRV]
    ordered = []
    while left:
        group = [record for record in left if record.priority == left[0].priority]
        chosen = random_number(0, sum(record.weight for record in group))
        for record in group:
            chosen -= record.weight
            if chosen <= 0:
                break
        left.remove(record)
        ordered.append(record)
    return ordered


def _checked(host: str) -> str:
    """The name without its last dot. Raises ``NameUnresolved`` for what is no host name."""
    fault = _fault(host)
    if fault:
        raise NameUnresolved(host, fault)
    return host.removesuffix(".")


def _fault(host: str) -> str:
    """Why a text cannot be a host name (RFC 1035 §2.3.4, RFC 1123 §2.1), or ""; underscores do occur."""
    name = host.removesuffix(".")
    if len(name) > 253:
        return "a name has at most 253 characters (RFC 1035)"
    labels = name.split(".")
    if not all(labels):
        return "a part of the name is empty"
    if any(len(label) > 63 for label in labels):
        return "a part of a name has at most 63 characters (RFC 1035)"
    if not all(_LABEL.issuperset(label) for label in labels):
        return "a name has letters, digits, hyphens and dots only"
    return "it is neither a name nor an address" if labels[-1].isdigit() else ""


def _address(text: str) -> str:
    """The address that a text is, in its usual form, or ""."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _shown(name: str) -> str:
    """A name for a sentence: printable and short."""
    shown = "".join(char if " " < char < "\x7f" else "?" for char in name[:101]) or '""'
    return shown if len(shown) <= 100 else f"{shown[:100]}…"
