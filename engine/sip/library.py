"""The PJSIP build itself, behind the binding: what the SWIG interface does not offer is called by ctypes."""

from __future__ import annotations

import ctypes
import glob
import os

import pjsua2 as pj

_path = glob.glob(os.path.join(os.path.dirname(pj.__file__), "_pjsua2*.so"))[0]

# PyDLL keeps the GIL: what is called through it takes microseconds, and the process has one thread.
pjlib = ctypes.PyDLL(_path)

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


def line_limit() -> int:
    """How many calls this build holds at once (PJSUA_MAX_CALLS, fixed at compile time)."""
    return int(pjlib.pjsua_call_get_max_count())


def accept_in_dialog(rdata: int) -> None:
    """Answer a request (``pjsip_rx_data``) that PJSIP is just handing on, and would answer with 500, with 200."""
    _respond(_dialog_of(rdata), rdata, 200, None, None, None)


def lines_in_use() -> set[int]:
    """The call ids that the build cannot give to another call: their INVITE sessions are not over yet."""
    count = ctypes.c_uint(line_limit())
    ids = (ctypes.c_int * count.value)()
    pjlib.pjsua_enum_calls(ids, ctypes.byref(count))
    return set(ids[: count.value])


def set_log_level(level: int) -> None:
    """What PJLIB prints before ``libInit`` gives it a configuration."""
    pjlib.pj_log_set_level(level)
