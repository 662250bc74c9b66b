"""PJMEDIA's conference bridge: nothing goes through it here, but it must be asked to let go of what it was given.

PJSUA puts every stream into it. As of PJSIP 2.15 ports are added and removed only when the bridge is asked for a frame,
as a sound device would do; until then a removed port holds its stream and transports, 42 KB for each answered call.
"""

from __future__ import annotations

import ctypes

from engine.sip.library import Text, pjlib
from engine.sip.rtp_stream import Frame


class _Port(ctypes.Structure):
    """How ``pjmedia_port`` (pjmedia/port.h) begins: its name, and its format as audio."""

    _fields_ = (
        ("name", Text),
        ("signature", ctypes.c_uint32),
        ("direction", ctypes.c_int),
        ("format", ctypes.c_uint32 * 3),
        ("rate_hz", ctypes.c_uint32),
        ("channels", ctypes.c_uint32),
        ("frame_us", ctypes.c_uint32),
    )


_no_sound_device = pjlib.pjsua_set_no_snd_dev
_no_sound_device.restype = ctypes.c_void_p
_get_frame = pjlib.pjmedia_port_get_frame


class Bridge:
    """The bridge of the process's endpoint, which has no sound device from now on."""

    def __init__(self) -> None:
        self._master = _no_sound_device()
        port = _Port.from_address(self._master)
        self._size = port.rate_hz * port.frame_us // 1_000_000 * 2  # any other size fails an assertion of PJMEDIA's
        self._buffer = ctypes.create_string_buffer(self._size)
        self._frame = Frame(buf=ctypes.addressof(self._buffer))

    def settle(self) -> None:
        """Have the ports removed that are to be; not to be called from a callback. Nobody listens to anybody in this
        bridge, so live streams in it are not read, and what they send is not changed."""
        self._frame.size = self._size
        _get_frame(self._master, ctypes.addressof(self._frame))
