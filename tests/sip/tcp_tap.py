"""A TCP connection's middle: passes bytes on, keeps them, and can be the TLS server of a far end that speaks none."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Self


class TcpTap:
    """Listens on loopback and connects to ``port`` for each connection. With ``tls`` the connections to it are TLS,
    those to ``port`` plain. An async context manager; nothing is left of it afterwards."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._far_port = port
        self._tls = tls
        self.passed = bytearray()
        """What went through, both ways, as the two ends see it: with ``tls`` it is deciphered."""
        self.connections = 0
        """How many were made to it."""
        self.client_names: list[str] = []
        """Whom the certificates of TLS clients named."""
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", 0, ssl=self._tls, ssl_shutdown_timeout=1.0 if self._tls else None
        )
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.connections += 1
        certificate = writer.get_extra_info("peercert") or {}
        self.client_names += [value for ((key, value),) in certificate.get("subject", ()) if key == "commonName"]
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far_port)
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            far_writer.transport.abort()
            writer.close()  # abort() of a TLS transport is broken in CPython 3.11.2, which Debian 12 has
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.passed += data
                writer.write(data)
                await writer.drain()
            writer.write_eof() if writer.can_write_eof() else writer.close()
