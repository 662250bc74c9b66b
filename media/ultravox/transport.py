"""A transport to a host: its addresses looked up, then TCP, and TLS where asked for, to the first that answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

Address = tuple[str, int]


async def look_up(host: str, port: int) -> tuple[Address, ...]:
    """The host's addresses, in the order they are to be tried; never empty. Raises ``OSError``."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple((str(address[0]), int(address[1])) for *_, address in found)


async def reach(
    protocol: asyncio.BaseProtocol,
    addresses: Sequence[Address],
    *,
    tls: ssl.SSLContext | None,
    host: str,
    timeout_s: float,
) -> None:
    """Connect ``protocol`` to one of ``addresses``, each of which has its share of the time. Raises ``OSError``."""
    loop = asyncio.get_running_loop()
    failures: list[OSError] = []
    for address, port in addresses:
        try:
            async with asyncio.timeout(timeout_s / len(addresses)):
                await loop.create_connection(
                    lambda: protocol, address, port, ssl=tls, server_hostname=host if tls else None
                )
            return
        except OSError as error:
            failures.append(error)
    raise failures[-1]


def why(error: OSError) -> str:
    """What happened, as the rest of a sentence that begins with who was to be reached."""
    match error:
        case TimeoutError():
            return "did not open in time"
        case ssl.SSLCertVerificationError():
            return f"has a certificate that is not trusted ({error.verify_message})"
        case _:
            return f"could not be reached ({error.strerror or type(error).__name__})"
