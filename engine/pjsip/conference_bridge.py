"""PJMEDIA's conference bridge, which PJSUA cannot do without: nothing goes through it here, but it must let go.

PJSUA puts every stream into the bridge. As of PJSIP 2.15 ports are added to it and removed from it only when it is
asked for a frame, as a sound device would do: until then a removed port holds its stream and transports, 42 KB for each
answered call. When it is asked it sends a frame to every port that is not disabled, of silence if there is no other.
"""

from __future__ import annotations

import ctypes
from functools import cache

from engine.pjsip.library import Text, pjlib
from engine.pjsip.rtp_stream import Frame

_DISABLED = 1  # PJMEDIA_PORT_DISABLE
_MAX_PORTS = 64


class _Port(ctypes.Structure):
    """How ``pjmedia_port`` (pjmedia/port.h) begins: its name, its format as audio, and its owner."""

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
    """The bridge of the process's endpoint, which has no sound device from now on."""

    def __init__(self) -> None:
        self._master = ctypes.c_void_p(pjlib.pjsua_set_no_snd_dev())
        port = _Port.from_address(self._master.value or 0)
        self._bridge = ctypes.c_void_p(port.owner)
        self._size = port.rate_hz * port.frame_us // 1_000_000 * 2  # any other fails an assertion of PJMEDIA's
        self._buffer = ctypes.create_string_buffer(self._size)
        self._frame = Frame(buf=ctypes.addressof(self._buffer))
        self._ports = (ctypes.c_uint * _MAX_PORTS)()
        self._changed = False

    def stream_ended(self) -> None:
        """A stream's port is to be removed."""
        self._changed = True

    def settle(self) -> None:
        """Have what is to be removed removed, unheard by the streams that live; not to be called from a callback."""
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
    """The process's, once its library has started."""
    return ConferenceBridge()
