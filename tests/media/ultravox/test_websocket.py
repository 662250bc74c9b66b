"""The client's side of a session's WebSocket, spoken to by the library's own server side; no socket."""

from __future__ import annotations

import logging

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from media.errors import AgentUnreachable
from media.ultravox.websocket import ClientWebSocket, Closed

URL = "ws://127.0.0.1/join?key=secret"


class Far:
    """The far end and what the wire tells of it."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []
        self.server = ServerProtocol(logger=logging.Logger("far end", 60))
        self.websocket = ClientWebSocket(URL)

    def answer(self, status: int = 101) -> bytes:
        """Its answer to the request, not yet received."""
        self.websocket.ask()
        self.server.receive_data(b"".join(self.websocket.data_to_send()))
        (request,) = self.server.events_received()
        assert isinstance(request, Request)
        response = self.server.accept(request) if status == 101 else self.server.reject(status, "")
        self.server.send_response(response)
        return self.said()

    def listen(self) -> None:
        self.websocket.listen(self.told.append, self.told.append)

    def said(self) -> bytes:
        return b"".join(self.server.data_to_send())

    def open(self) -> None:
        self.websocket.receive(self.answer())
        self.listen()


def test_frames_that_came_with_the_response_are_told_when_somebody_listens_and_not_before() -> None:
    far = Far()
    answer = far.answer()
    far.server.send_text(b"hello")
    far.server.send_binary(b"\x01\x02")
    for byte in answer + far.said():
        assert far.websocket.receive(bytes([byte]))
    assert (far.websocket.answered, far.websocket.refusal, far.told) == (True, "", [])
    far.listen()
    assert far.told == ["hello", b"\x01\x02"]


@pytest.mark.parametrize(
    ("bytes_", "refusal"),
    [(b"", "was refused with HTTP status 503"), (b"220 mail.example ESMTP\r\n\r\n", "did not answer as a WebSocket")],
    ids=["refused", "not HTTP"],
)
def test_what_is_no_websocket_is_said(bytes_: bytes, refusal: str) -> None:
    far = Far()
    answer = far.answer(503)
    far.websocket.receive(bytes_ or answer)
    far.websocket.receive_eof()
    assert (far.websocket.answered, far.websocket.open, far.websocket.refusal) == (True, False, refusal)


def test_audio_alone_calls_for_no_answer_and_a_ping_does() -> None:
    far = Far()
    far.open()
    far.server.send_binary(b"\x01\x02")
    assert not far.websocket.receive(far.said())
    far.server.send_binary(b"\x03\x04")
    far.server.send_ping(b"there?")
    assert far.websocket.receive(far.said())
    far.server.receive_data(b"".join(far.websocket.data_to_send()))
    (pong,) = far.server.events_received()
    assert isinstance(pong, Frame)
    assert (pong.opcode, far.told) == (Opcode.PONG, [b"\x01\x02", b"\x03\x04"])


@pytest.mark.parametrize("ours_first", [True, False])
def test_the_first_close_frame_is_the_one_that_counts(ours_first: bool) -> None:
    far = Far()
    far.open()
    assert far.websocket.open
    if ours_first:
        far.websocket.close()
        far.server.receive_data(b"".join(far.websocket.data_to_send()))
    else:
        far.server.send_close(4001, "no more")
    assert far.websocket.receive(far.said())
    assert (far.websocket.open, far.websocket.close_received, far.websocket.close_expected) == (False, True, True)
    far.websocket.receive_eof()
    expected = (1000, "") if ours_first else (4001, "no more")
    assert far.websocket.closed() == Closed(code=expected[0], reason=expected[1], by_us=ours_first)


def test_an_end_without_a_close_frame_is_1006_and_not_clean() -> None:
    far = Far()
    far.open()
    far.websocket.receive_eof()
    assert far.websocket.closed() == Closed(code=1006, reason="", by_us=False)
    assert not far.websocket.closed().clean


@pytest.mark.parametrize("url", ["https://ultravox.example", "nonsense", "ws://a\u2024b..c/"])
def test_a_join_url_that_is_none_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(AgentUnreachable) as caught:
        ClientWebSocket(url)
    assert url not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
