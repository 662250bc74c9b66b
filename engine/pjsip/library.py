"""The PJSIP library behind the binding: functions that the SWIG interface lacks, called by ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import pjsua2 as pj

from engine.sip.message import Message, read
from engine.sip.syntax import Malformed

# PyDLL keeps the GIL: calls through it take microseconds, and the process has one thread.
pjlib = ctypes.PyDLL(str(pj._pjsua2.__file__))

_dialog_of = pjlib.pjsip_rdata_get_dlg
_dialog_of.argtypes = (ctypes.c_void_p,)
_dialog_of.restype = ctypes.c_void_p
_respond = pjlib.pjsip_dlg_respond
_respond.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class Text(ctypes.Structure):
    """``pj_str_t`` (pj/types.h)."""

    _fields_ = (("ptr", ctypes.c_char_p), ("slen", ctypes.c_ssize_t))

    @classmethod
    def of(cls, text: str) -> Text:
        encoded = text.encode()
        return cls(ptr=encoded, slen=len(encoded))


def parsed(whole_message: str) -> Message | None:
    """Parse a SIP message as PJSIP passes it; None when there is none or it cannot be read."""
    try:
        return read(whole_message.encode("utf-8", "surrogateescape"), strict=False)
    except Malformed:
        return None


_create_pool = pjlib.pjsua_pool_create
_create_pool.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t)
_create_pool.restype = ctypes.c_void_p
_release_pool = pjlib.pj_pool_release
_release_pool.argtypes = (ctypes.c_void_p,)


@contextmanager
def new_pool() -> Iterator[int]:
    """The address of a ``pj_pool_t`` that is released at the end."""
    pool = _create_pool(b"trunkline", 1024, 1024)
    try:
        yield pool
    finally:
        _release_pool(pool)


def dialog_of(rdata: int) -> int | None:
    """The address of the ``pjsip_dialog`` that a received message (``pjsip_rx_data``) belongs to, None without one."""
    dialog: int | None = _dialog_of(rdata)
    return dialog


def line_limit() -> int:
    """The most calls that PJSIP holds at once, after ``libInit``: the requested number, or the build's limit
    (PJSUA_MAX_CALLS)."""
    return int(pjlib.pjsua_call_get_max_count())


def accept_in_dialog(rdata: int) -> None:
    """Answer a request (``pjsip_rx_data``) with 200 while PJSIP passes it on; PJSIP itself would answer with 500."""
    _respond(_dialog_of(rdata), rdata, 200, None, None, None)


def lines_in_use() -> set[int]:
    """The call ids that PJSIP cannot give to another call yet, because their INVITE sessions are not over."""
    count = ctypes.c_uint(line_limit())
    ids = (ctypes.c_int * count.value)()
    pjlib.pjsua_enum_calls(ids, ctypes.byref(count))
    return set(ids[: count.value])


def set_log_level(level: int) -> None:
    """Set what PJLIB prints before ``libInit`` gives it a configuration."""
    pjlib.pj_log_set_level(level)
