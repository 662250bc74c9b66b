"""An RTP endpoint of the tests' own (RFC 3550): listens with exact arrival times, plays, echoes."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Container
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from tests import g711
from tests.sip.process import wait_until

Address: TypeAlias = tuple[str, int]

FRAME_S: Final = 0.02
SAMPLES: Final = 160
DIGITS: Final = "0123456789*#ABCD"
"""By event code (RFC 4733 §3.2)."""
_SO_TIMESTAMPNS: Final = 35
"""Linux: the kernel stamps each datagram, so that a busy test process does not spoil the arrival times."""
_SILENCE_PEAK: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpPacket:
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    source: Address
    arrived_s: float
    """On ``time.monotonic``'s scale, stamped by the kernel."""

    @classmethod
    def parse(cls, datagram: bytes, *, source: Address, arrived_s: float) -> RtpPacket:
        first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", datagram)
        return cls(
            payload_type=second & 0x7F,
            marker=bool(second & 0x80),
            sequence=sequence,
            timestamp=timestamp,
            ssrc=ssrc,
            payload=datagram[12 + 4 * (first & 0x0F) :],
            source=source,
            arrived_s=arrived_s,
        )

    @property
    def event(self) -> tuple[int, bool, int]:
        """Event code, end bit, and duration in timestamp units, of a telephone-event packet (RFC 4733 §2.3)."""
        code, flags, duration = struct.unpack("!BBH", self.payload)
        return code, bool(flags & 0x80), duration

    @property
    def pcm(self) -> bytes:
        """s16le at 8 kHz; nothing unless the payload is G.711."""
        law = g711.PAYLOAD_TYPES.get(self.payload_type)
        return g711.decode(self.payload, law) if law else b""

    @property
    def silent(self) -> bool:
        samples = np.frombuffer(self.pcm, "<i2").astype(np.int32)
        return not samples.size or int(np.abs(samples).max()) < _SILENCE_PEAK


class RtpTap:
    """A UDP port on loopback that a far end's SDP can name as its media address.

    Answers whoever sent last (symmetric RTP, RFC 4961). Everything that arrived since the last ``forget()`` is kept.
    A context manager; its thread and port are gone after it.
    """

    def __init__(self, *, echo: bool = False, law: g711.Law = "PCMU") -> None:
        self._echo = echo
        self._law = law
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.code_points: set[int] = set()
        """The DiffServ marks of what arrived (RFC 2474)."""
        self._lock = threading.Lock()
        self._packets: list[RtpPacket] = []
        self._peer: Address | None = None
        self._playing = b""
        self._played = 0
        self._sequence = 0
        self._next_frame_s = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rtp tap")

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()

    def packets(self, source: Address | None = None) -> list[RtpPacket]:
        """In order of arrival; of one sender, or of all."""
        with self._lock:
            return [packet for packet in self._packets if source in (None, packet.source)]

    def sources(self) -> list[Address]:
        return list(dict.fromkeys(packet.source for packet in self.packets()))

    def forget(self) -> None:
        with self._lock:
            self._packets.clear()

    def heard(self, source: Address | None = None) -> bytes:
        """s16le at 8 kHz, in the order of the sender's sequence numbers; gaps are closed up."""
        packets = self.packets(source)
        first = packets[0].sequence if packets else 0
        return b"".join(packet.pcm for packet in sorted(packets, key=lambda p: (p.sequence - first + 0x8000) & 0xFFFF))

    def spacing_ms(self, source: Address | None = None) -> npt.NDArray[np.float64]:
        """The time between each packet and the one before it."""
        return np.diff([packet.arrived_s for packet in self.packets(source)]) * 1000

    def play(self, pcm: bytes, *, to: Address | None = None, law: g711.Law | None = None) -> None:
        """Send ``pcm`` (s16le, 8 kHz, at least 20 ms) over and over, a packet each 20 ms; ``b""`` stops.

        It goes to ``to``, else to whoever sends, beginning with the first packet that arrives.
        """
        with self._lock:
            self._law = law or self._law
            self._playing = g711.encode(pcm, self._law)
            self._peer = to or self._peer
            self._next_frame_s = time.monotonic()

    def send(self, payload_type: int, payload: bytes, *, timestamp: int, marker: bool = False) -> None:
        """Send one packet of the test's making to whoever sends; its sequence number is the next."""
        with self._lock:
            self._send(payload_type, payload, timestamp, marker)

    def press(
        self,
        digit: str,
        *,
        payload_type: int = 101,
        timestamp: int,
        moves: int = 0,
        lose: Container[int] = (),
        marker: bool = True,
    ) -> None:
        """Press a key for 100 ms: eight telephone-event packets, the last three with the end bit (RFC 4733 §2.5).

        ``lose``: which of them never arrive; ``moves``: how much later each one's timestamp is than it should be.
        """
        for index in range(8):
            flags = 0x80 if index >= 5 else 0
            payload = struct.pack("!BBH", DIGITS.index(digit), flags | 10, SAMPLES * min(index + 1, 6))
            if index in lose:
                self._sequence += 1
            else:
                at = timestamp + index * moves
                self.send(payload_type, payload, timestamp=at, marker=marker and index == 0)

    def hold(self, digit: str, *, payload_type: int = 101, timestamp: int, segments: int) -> None:
        """Press a key for so many times 8.2 s, in the segments of RFC 4733 §2.5.1.3, all at once."""
        for segment in range(segments):
            for duration in (400, 30_000, 65_535):
                end = 0x80 if (segment, duration) == (segments - 1, 65_535) else 0
                payload = struct.pack("!BBH", DIGITS.index(digit), end | 10, duration)
                at = timestamp + segment * 65_535
                self.send(payload_type, payload, timestamp=at, marker=(segment, duration) == (0, 400))

    async def wait_for_packets(self, count: int, *, within_s: float = 30) -> list[RtpPacket]:
        """The first ``count`` packets; raises ``TimeoutError`` when there are fewer in that time."""
        await wait_until(lambda: len(self.packets()) >= count, f"{count} RTP packets", within_s=within_s)
        return self.packets()[:count]

    def _run(self) -> None:
        while not self._closing.is_set():
            due = self._playing and self._peer
            wait_s = max(0.0, self._next_frame_s - time.monotonic()) if due else FRAME_S
            if select.select([self._socket], [], [], min(wait_s, FRAME_S))[0]:
                self._receive()
            if due and time.monotonic() >= self._next_frame_s:
                self._send_frame()

    def _receive(self) -> None:
        datagram, control, _, source = self._socket.recvmsg(4096, 128)
        if self._echo:
            self._socket.sendto(datagram, source)
        told = {kind: data for _, kind, data in control}
        seconds, nanoseconds = struct.unpack("qq", told[_SO_TIMESTAMPNS][:16])
        self.code_points.add(told[socket.IP_TOS][0] >> 2)
        age_s = time.time() - (seconds + nanoseconds / 1e9)
        packet = RtpPacket.parse(datagram, source=source, arrived_s=time.monotonic() - age_s)
        with self._lock:
            self._packets.append(packet)
            if self._peer is None:
                self._next_frame_s = time.monotonic()
            self._peer = source

    def _send_frame(self) -> None:
        with self._lock:
            if not self._playing or not self._peer:
                return
            start = self._played * SAMPLES % len(self._playing)
            payload = (self._playing[start:] + self._playing)[:SAMPLES]
            timestamp = self._played * SAMPLES & 0xFFFFFFFF
            self._played += 1
            self._next_frame_s += FRAME_S
            self._send(0 if self._law == "PCMU" else 8, payload, timestamp, False)

    def _send(self, payload_type: int, payload: bytes, timestamp: int, marker: bool) -> None:
        assert self._peer is not None
        second = payload_type | (0x80 if marker else 0)
        header = struct.pack("!BBHII", 0x80, second, self._sequence & 0xFFFF, timestamp, self.port)
        self._sequence += 1
        self._socket.sendto(header + payload, self._peer)
