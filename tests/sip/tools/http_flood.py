"""Many HTTP requests fast: a client that costs little itself, so that what is measured is the server."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self


class Connection:
    """One kept-alive connection of HTTP/1.1."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._head = f"Host: trunkline\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._writer.close()

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        return await self._ask(f"POST {path} HTTP/1.1\r\n{self._head}{more}", json.dumps(body).encode())

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        return await self._ask(f"GET {path} HTTP/1.1\r\n{self._head}", b"")

    async def _ask(self, head: str, body: bytes) -> tuple[int, dict[str, Any]]:
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        if "connection: close" in answer:
            await self.__aexit__()
        length = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
        status, content = int(answer.split()[1]), await self._reader.readexactly(length)
        if "connection: close" in answer:
            await self.__aenter__()
        return status, json.loads(content)


async def of_many(clients: int, port: int, key: str, requests: int, ask: Callable[[Connection], Any]) -> list[Any]:
    """What ``ask`` returned for each of ``requests``, made by ``clients`` connections as fast as they are answered."""
    left = iter(range(requests))

    async def client() -> list[Any]:
        async with Connection(port, key) as connection:
            return [await ask(connection) for _ in left]

    return [each for answers in await asyncio.gather(*(client() for _ in range(clients))) for each in answers]


def post_at_rate(port: int, key: str, body: dict[str, Any], rate: int, seconds: float) -> tuple[Counter[int], float]:
    """In its own process: ``rate`` POSTs a second, whether answered or not; the statuses, and how long it took."""
    return asyncio.run(_post_at_rate(port, key, body, rate, seconds))


async def _post_at_rate(
    port: int, key: str, body: dict[str, Any], rate: int, seconds: float
) -> tuple[Counter[int], float]:
    began_s = time.monotonic()
    total = int(rate * seconds)
    turns = iter(range(total))

    async def client() -> list[int]:
        statuses = []
        async with Connection(port, key) as connection:
            for turn in turns:
                await asyncio.sleep(max(0.0, began_s + turn / rate - time.monotonic()))
                statuses.append((await connection.post("/api/voice", body))[0])
        return statuses

    answers = await asyncio.gather(*(client() for _ in range(50)))
    return Counter(status for each in answers for status in each), time.monotonic() - began_s
