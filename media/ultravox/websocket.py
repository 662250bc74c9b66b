"""A session's WebSocket without I/O, the client's side (RFC 6455): bytes in; audio, texts and bytes to send out.

The join URL is the credential of the session. It is in no log line, no error and no ``repr`` here, and the websockets
library, which logs request lines at DEBUG, is given a logger that says nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from media.errors import AgentUnreachable
from media.ultravox.frames import FrameSplitter

_MAX_MESSAGE = 8 * 2**20
"""Bytes of one message; thirty seconds of 48 kHz PCM in a single one are 2.9 MB."""
_MAX_TEXT = 256 * 2**10
"""Bytes of one text message: what can be parsed between two ticks."""

_SILENT = logging.Logger("websockets", logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """How a session's WebSocket ended.

    ``code`` is the first close frame's, ours or theirs, and 1006 when there was none (RFC 6455 §7.4.1). ``by_us``: ours
    was first, because ``close`` was called, or because the far end broke a rule that ``code`` and ``reason`` name.
    """

    code: int
    reason: str
    by_us: bool

    @property
    def clean(self) -> bool:
        """True for an orderly end; a service that fails says 1008 or 4xxx, or nothing at all."""
        return self.code in (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD)


class ClientWebSocket:
    """After each method, unless ``receive`` says it need not be, send what ``data_to_send`` gives. Raises
    ``AgentUnreachable`` for a URL that is none.
    """

    def __init__(self, join_url: str) -> None:
        self.uri = _parse(join_url)
        self.open = False
        """Whether the handshake is over and the closing has not begun."""
        self.heard = False
        """Whether anything has come."""
        self.listening = False
        self._on_audio: Callable[[bytes], None]
        self._on_text: Callable[[str], None]
        self._protocol = ClientProtocol(self.uri, max_size=_MAX_MESSAGE, logger=_SILENT)
        self._frames: FrameSplitter
        self._text: bytearray | None = None
        """The text message that is being received."""
        self._answer = bytearray()
        self._more_than_audio = False
        self._ended = False

    # -- opening -------------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask for the WebSocket."""
        self._protocol.send_request(self._protocol.connect())

    @property
    def answered(self) -> bool:
        """Whether the far end has opened the WebSocket, or will not any more."""
        return self._protocol.state is not State.CONNECTING or self._protocol.handshake_exc is not None

    @property
    def refusal(self) -> str:
        """Why it was not opened, as the rest of a sentence; empty when it was."""
        match self._protocol.handshake_exc:
            case None:
                return ""
            case InvalidStatus() as refusal:
                return f"was refused with HTTP status {refusal.response.status_code}"
            case _:
                return "did not answer as a WebSocket"

    def listen(self, on_audio: Callable[[bytes], None], on_text: Callable[[str], None]) -> None:
        """Tell what has come since the handshake, and from now on what comes: PCM in pieces of any size, and each text
        message."""
        self._on_audio, self._on_text = on_audio, on_text
        self._frames = FrameSplitter(on_audio, self._receive_other, _MAX_MESSAGE)
        self.listening = True
        self._frames.feed(bytes(self._answer))
        if self._ended:
            self._protocol.receive_eof()
        self._note_state()

    # -- receiving -----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> bool:
        """The next bytes. False when they held audio alone, which calls for no answer."""
        self._more_than_audio = not self.listening
        if self.listening:
            self._frames.feed(data)
        else:
            self._take_answer(data)
        return self._more_than_audio

    def receive_eof(self) -> None:
        """There will be no more bytes."""
        self._ended = True
        if self.listening or self._protocol.state is State.CONNECTING:
            self._protocol.receive_eof()
            self._note_state()

    def _take_answer(self, data: bytes) -> None:
        """The library reads the response and no more: what follows is frames, told once somebody listens."""
        self.heard = True
        self._answer += data
        while self._protocol.state is State.CONNECTING and self._answer:
            size = self._answer.find(b"\r\n\r\n") + 4
            size = size if size > 3 else len(self._answer)
            self._protocol.receive_data(bytes(self._answer[:size]))
            del self._answer[:size]
        self._note_state()

    def _receive_other(self, data: bytes) -> None:
        self._more_than_audio = True
        self._protocol.receive_data(data)
        self._note_state()
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame):
                self._receive(frame)

    def _receive(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY or (frame.opcode is Opcode.CONT and self._text is None):
            if frame.data:
                self._on_audio(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
            self._text = self._text or bytearray()
            self._text += frame.data
            if len(self._text) > _MAX_TEXT:
                self._refuse_text()
            elif frame.fin:
                text, self._text = self._text.decode("utf-8", "replace"), None
                self._on_text(text)

    def _refuse_text(self) -> None:
        self._text = bytearray()
        if self._protocol.state is State.OPEN:
            self._protocol.fail(CloseCode.MESSAGE_TOO_BIG, f"a text message of more than {_MAX_TEXT} bytes")
            self._note_state()

    # -- sending -------------------------------------------------------------------------------------------------------

    def send_text(self, text: str) -> None:
        """Send a text message, while ``open``."""
        self._protocol.send_text(text.encode())

    def refuse(self, reason: str) -> None:
        """Begin to close (code 1008): the far end broke a rule that ``reason`` names."""
        if self._protocol.state is State.OPEN:
            self._protocol.fail(CloseCode.POLICY_VIOLATION, reason)
            self._note_state()

    def close(self) -> None:
        """Begin to close (code 1000), while ``open``."""
        self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        self._note_state()

    def data_to_send(self) -> list[bytes]:
        """What is to be sent now, in order; an empty piece stands for the end of what we send."""
        return self._protocol.data_to_send()

    # -- the end -------------------------------------------------------------------------------------------------------

    @property
    def close_expected(self) -> bool:
        """Whether the far end is to end the TCP connection soon (§7.1.1)."""
        return self._protocol.close_expected()

    @property
    def close_received(self) -> bool:
        """Whether the far end's close frame came: it says nothing more."""
        return self._protocol.close_rcvd is not None

    def closed(self) -> Closed:
        """How it ended; after ``receive_eof``."""
        ours, theirs = self._protocol.close_sent, self._protocol.close_rcvd
        by_us = ours is not None and not self._protocol.close_rcvd_then_sent
        first = ours if by_us else theirs
        code, reason = (first.code, first.reason) if first is not None else (CloseCode.ABNORMAL_CLOSURE, "")
        return Closed(code=int(code), reason=reason, by_us=by_us)

    def _note_state(self) -> None:
        self.open = self._protocol.state is State.OPEN  # looked at with every frame of audio: no call then


def _parse(join_url: str) -> WebSocketURI:
    with contextlib.suppress(InvalidURI, ValueError):  # their text quotes the URL
        uri = parse_uri(join_url)
        uri.host.encode("idna")
        return uri
    raise AgentUnreachable("Ultravox gave a join URL that is no WebSocket URL. Check ultravox.base_url.")
