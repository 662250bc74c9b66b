"""The PCM of one RTP stream, read from and written to PJMEDIA's stream port directly.

The conference bridge, the sound device and the director callbacks of ``AudioMediaPort`` are not used. Each tick of a
call makes one call into C that decodes from the jitter buffer and one that encodes and sends. The bridge is never
clocked, so a stream has its codec's own rate and nothing is resampled inside PJMEDIA.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from engine.pjsip.library import pjlib
from media.excess_delay import ExcessDelay

_AUDIO = 1  # PJMEDIA_FRAME_TYPE_AUDIO
_EVENT_REPEATS = 2  # RFC 4733 §2.5.1.4: an event's last packet is sent three times
_EVENT_EXCESS_MS = 40
_STARVED_MS = 100


class Frame(ctypes.Structure):
    """``pjmedia_frame`` (pjmedia/frame.h)."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buf", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("timestamp", ctypes.c_uint64),
        ("bit_info", ctypes.c_uint32),
    )


class JitterBufferState(ctypes.Structure):
    """``pjmedia_jb_state`` (pjmedia/jbuf.h)."""

    _fields_ = (
        ("frame_size", ctypes.c_uint),
        ("min_prefetch", ctypes.c_uint),
        ("max_prefetch", ctypes.c_uint),
        ("max_count", ctypes.c_uint),
        ("burst", ctypes.c_uint),
        ("prefetch", ctypes.c_uint),
        ("size", ctypes.c_uint),
        ("statistics", ctypes.c_uint * 8),
    )


_get_frame = pjlib.pjmedia_port_get_frame
_put_frame = pjlib.pjmedia_port_put_frame
_get_port = pjlib.pjmedia_stream_get_port
_get_jitter_buffer = pjlib.pjmedia_stream_get_stat_jbuf
for _function in (_get_frame, _put_frame, _get_port, _get_jitter_buffer):
    _function.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    _function.restype = ctypes.c_int


class RtpStream:
    """The PCM side of one negotiated stream, from its creation until ``close``.

    ``rate_hz`` and ``samples`` (of a frame, the far end's packet time) are the codec's. ``codec_frames`` is the number
    of codec frames in ``samples``, the unit of PJMEDIA's jitter buffer; ``sends`` is negotiated. ``read`` and ``write``
    never block and never raise; each is to be called once per ``samples`` of media time. ``read`` calls ``on_starved``
    for each 100 ms in which there was nothing to play; it may ``close`` the stream.
    """

    def __init__(
        self,
        stream: int,
        *,
        rate_hz: int,
        samples: int,
        codec_frames: int,
        sends: bool,
        on_starved: Callable[[], None],
    ) -> None:
        port = ctypes.c_void_p()
        if _get_port(stream, ctypes.addressof(port)) != 0 or not port.value:
            raise RuntimeError("PJMEDIA gave no port for the stream")
        self.rate_hz = rate_hz
        self.samples = samples
        self.sends = sends
        self._size = samples * 2
        self._silence = bytes(self._size)
        self._port: int | None = port.value
        self._stream = stream
        self._codec_frames = codec_frames
        self._jitter_buffer = JitterBufferState()
        self._jitter_buffer_address = ctypes.addressof(self._jitter_buffer)
        self._excess_delay = ExcessDelay()
        self._on_starved = on_starved
        self.heard = 0
        """The number of reads that found something to play."""
        self._starved_reads = 0
        self._reads_to_starve = -(-_STARVED_MS * rate_hz // (samples * 1000))
        self._event_frames = self._excess_frames = 0
        self._received = ctypes.create_string_buffer(self._size)
        self._sent = ctypes.create_string_buffer(self._size)
        self._sent_view = memoryview(self._sent).cast("B")
        self._in = Frame(buf=ctypes.addressof(self._received))
        self._out = Frame(buf=ctypes.addressof(self._sent))
        self._in_address = ctypes.addressof(self._in)
        self._out_address = ctypes.addressof(self._out)

    def read(self) -> bytes:
        """The next ``samples`` from the far end; silence for audio that is lost, late or not sent. Quiet audio that has
        waited in the jitter buffer for longer than the jitter requires is left out."""
        if self._port is None:
            return self._silence
        _get_jitter_buffer(self._stream, self._jitter_buffer_address)
        size = self._jitter_buffer.size
        waiting = size // self._codec_frames
        pcm = self._next(self._port)
        if self._excess_delay.leave_out(pcm, waiting):
            pcm = self._next(self._port)
        if size:
            self.heard += 1
            self._starved_reads = 0
            return pcm
        self._starved_reads += 1
        if self._starved_reads >= self._reads_to_starve:
            self._starved_reads = 0
            self._on_starved()
        return pcm

    def _next(self, port: int) -> bytes:
        frame = self._in
        frame.type, frame.size = _AUDIO, self._size
        if _get_frame(port, self._in_address) != 0 or frame.type != _AUDIO:
            return self._silence
        return self._received.raw

    def write(self, pcm: bytes) -> None:
        """Encode and send exactly ``samples`` samples as RTP."""
        if self._port is None:
            return
        if self._event_frames:
            self._event_frames -= 1
            if self._event_frames < self._excess_frames:
                return
        self._sent_view[:] = pcm
        frame = self._out
        frame.type, frame.size = _AUDIO, self._size
        _put_frame(self._port, self._out_address)

    def carry_event(self, duration_ms: int) -> None:
        """Prepare for a telephone-event of that length, which PJMEDIA sends instead of the next written frames.

        PJMEDIA's RTP timestamp runs 40 ms ahead after each event. As many milliseconds of frames are left out, so that
        the far end's buffer does not grow with every key.
        """
        frame_ms = self.samples * 1000 // self.rate_hz
        self._excess_frames = _EVENT_EXCESS_MS // frame_ms
        self._event_frames = -(-duration_ms // frame_ms) + _EVENT_REPEATS + self._excess_frames

    def close(self) -> None:
        """PJMEDIA is about to destroy the stream: do not use it any more."""
        self._port = None
