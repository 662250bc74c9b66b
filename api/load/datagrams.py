"""UDP in batches with the kernel's arrival times: recvmmsg(2) and sendmmsg(2), laid out as numpy arrays."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Times: TypeAlias = npt.NDArray[np.int64]

_SO_TIMESTAMPNS: Final = 35
_SO_RCVBUFFORCE: Final = 33
_MSG_DONTWAIT: Final = 0x40
_NAME, _CONTROL = 16, 64
_BUFFER: Final = 4 << 20
_IOVEC: Final = np.dtype([("base", "u8"), ("length", "u8")])
_MMSGHDR: Final = np.dtype(
    {
        "names": ["name", "name_length", "iov", "iov_count", "control", "control_length", "flags", "length"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
"""``struct mmsghdr`` of a 64-bit Linux."""

_libc: Any = ctypes.CDLL(None, use_errno=True)


class DatagramBatch:
    """One socket's datagrams, up to ``size`` at a time, each cut after ``room`` bytes; all memory is allocated once.

    After ``receive`` returned n the first n rows of ``data``, ``lengths`` and ``sources`` are the new ones, until the
    next call. Nothing here waits.
    """

    def __init__(self, bound: socket.socket, *, size: int = 256, room: int = 512) -> None:
        bound.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        enlarge_buffer(bound)
        self._fd = bound.fileno()
        self._size = size
        self.data: Bytes = np.zeros((size, room), np.uint8)
        self._names: Bytes = np.zeros((size, _NAME), np.uint8)
        self._control: Bytes = np.zeros((size, _CONTROL), np.uint8)
        self._into = _vectors(self.data, np.full(size, room))
        self._from = _vectors(self.data, np.zeros(size))
        self._received = _messages(self._names, self._into)
        self._received["control"] = _rows(self._control)
        self._received["control_length"] = _CONTROL
        self._sent = _messages(self._names, self._from)

    def receive(self) -> int:
        """Receive the waiting datagrams; returns their number."""
        self._received["control_length"] = _CONTROL
        return self._call(_libc.recvmmsg, self._received, self._size, None)

    def send_back(self, count: int) -> int:
        """Send the first ``count`` datagrams back to their senders; returns the number that the kernel took."""
        self._from["length"][:count] = self._received["length"][:count]
        return self._call(_libc.sendmmsg, self._sent, count)

    @property
    def lengths(self) -> npt.NDArray[np.uint32]:
        """In bytes, as received."""
        return self._received["length"]

    @property
    def arrived_ns(self) -> Times:
        """The arrival time of each datagram in the kernel, on ``time.time_ns``'s scale."""
        stamps = self._control.view(np.int64)
        return stamps[:, 2] * 1_000_000_000 + stamps[:, 3]

    @property
    def source_ports(self) -> npt.NDArray[np.uint16]:
        return self._names[:, 2:4].copy().view(">u2")[:, 0].astype(np.uint16)

    def _call(self, function: Any, messages: npt.NDArray[Any], count: int, *last: None) -> int:
        done = int(function(self._fd, ctypes.c_void_p(messages.ctypes.data), count, _MSG_DONTWAIT, *last))
        if done < 0:
            failure = ctypes.get_errno()
            if failure not in (errno.EAGAIN, errno.ECONNREFUSED, errno.EINTR):
                raise OSError(failure, os.strerror(failure))
            return 0
        return done


def enlarge_buffer(bound: socket.socket) -> None:
    """Set the largest receive buffer that the kernel allows, so that a late listener loses no datagrams."""
    try:
        bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def _rows(array: Bytes) -> npt.NDArray[np.uint64]:
    """The address of each row."""
    return array.ctypes.data + np.arange(len(array), dtype=np.uint64) * array.strides[0]


def _vectors(data: Bytes, lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
    vectors = np.zeros(len(data), _IOVEC)
    vectors["base"], vectors["length"] = _rows(data), lengths
    return vectors


def _messages(names: Bytes, vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    messages = np.zeros(len(names), _MMSGHDR)
    messages["name"], messages["name_length"] = _rows(names), _NAME
    messages["iov"], messages["iov_count"] = _rows(vectors), 1
    return messages
