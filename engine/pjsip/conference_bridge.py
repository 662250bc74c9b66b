"""PJMEDIA's conference bridge. PJSUA cannot work without it; no audio goes through it here, but it must release ports.

PJSUA puts every stream into the bridge. Since PJSIP 2.15 the bridge adds and removes ports only when it is asked for a
frame, as a sound device does. Until then a removed port holds its stream and transports, 42 KB for each answered call.
When asked, the bridge sends a frame to every port that is not disabled, of silence if there is no other audio.
"""

from __future__ import annotations

import ctypes
from functools import cache

from engine.pjsip.library import Text, pjlib
from engine.pjsip.rtp_stream import Frame

_DISABLED = 1  # PJMEDIA_PORT_DISABLE
_MAX_PORTS = 64


class _Port(ctypes.Structure):
    """The first fields of ``pjmedia_port`` (pjmedia/port.h): its name, its format as audio, and its owner."""

    _fields_ = (
        ("name", Text),
        ("signature", ctypes.c_uint32),
        ("direction", ctypes.c_int),
        ("format", ctypes.c_uint32 * 3),
        ("rate_hz", ctypes.c_uint32),
        ("channels", ctypes.c_uint32),
        ("frame_us", ctypes.c_uint32),
        ("_detail", ctypes.c_uint32 * 3),
        ("owner", ctypes.c_void_p),
    )


pjlib.pjsua_set_no_snd_dev.restype = ctypes.c_void_p
_configure = pjlib.pjmedia_conf_configure_port
_configure.argtypes = (ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_int)


class ConferenceBridge:
    """The bridge of the process's endpoint. The endpoint has no sound device from now on."""

    def __init__(self) -> None:
        self._master = ctypes.c_void_p(pjlib.pjsua_set_no_snd_dev())
        port = _Port.from_address(self._master.value or 0)
        self._bridge = ctypes.c_void_p(port.owner)
        self._size = port.rate_hz * port.frame_us // 1_000_000 * 2  # any other size fails an assertion in PJMEDIA
        self._buffer = ctypes.create_string_buffer(self._size)
        self._frame = Frame(buf=ctypes.addressof(self._buffer))
        self._ports = (ctypes.c_uint * _MAX_PORTS)()
        self._changed = False

    def stream_ended(self) -> None:
        """A stream's port is to be removed."""
        self._changed = True

    def settle(self) -> None:
        """Remove the ports that are to be removed, silently for live streams. Not to be called from a callback."""
        if not self._changed:
            return
        self._changed = False
        count = ctypes.c_uint(_MAX_PORTS)
        pjlib.pjmedia_conf_enum_ports(self._bridge, self._ports, ctypes.byref(count))
        for number in self._ports[: count.value]:
            _configure(self._bridge, number, _DISABLED, _DISABLED)
        self._frame.size = self._size
        pjlib.pjmedia_port_get_frame(self._master, ctypes.byref(self._frame))


@cache
def conference_bridge() -> ConferenceBridge:
    """The process's bridge; to be called once its library has started."""
    return ConferenceBridge()
