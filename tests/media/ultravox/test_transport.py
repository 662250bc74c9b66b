from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from media.ultravox.transport import look_up, reach, why

REFUSING = ("127.0.0.1", 1)


class NearEnd(asyncio.Protocol):
    def __init__(self) -> None:
        self.reached: object = None
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.reached = transport.get_extra_info("peername")
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


async def test_address_of_a_literal_is_itself() -> None:
    assert await look_up("127.0.0.1", 443) == (("127.0.0.1", 443),)


async def test_name_of_nobody_is_told_in_words() -> None:
    with pytest.raises(socket.gaierror) as caught:
        await look_up("nowhere.invalid", 443)
    assert why(caught.value).startswith("could not be reached (")


async def test_address_that_refuses_is_followed_by_the_next() -> None:
    near = NearEnd()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        await reach(near, [REFUSING, listening.getsockname()], tls=None, host="localhost", timeout_s=5)
        assert near.reached == listening.getsockname()
        await near.gone.wait()


async def test_last_failure_is_the_one_raised() -> None:
    with pytest.raises(ConnectionRefusedError) as caught:
        await reach(NearEnd(), [REFUSING, REFUSING], tls=None, host="localhost", timeout_s=5)
    assert "could not be reached" in why(caught.value)


async def test_far_end_that_never_speaks_tls_has_its_share_of_the_time_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        addresses = [mute.getsockname()] * 2
        with pytest.raises(TimeoutError) as caught:
            await reach(NearEnd(), addresses, tls=ssl.create_default_context(), host="localhost", timeout_s=0.2)
    assert why(caught.value) == "did not open in time"
