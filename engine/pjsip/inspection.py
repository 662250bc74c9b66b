"""Inspects the far end's requests (RFC 3261 §8.2.1, §8.2.2): only those of existing calls reach PJSIP.

PJSIP by itself serves more than we support: it dials the target of a REFER and hands a call over to an INVITE with
Replaces. A request for which it has no module gets no answer from it, or a 500.
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable
from typing import Final

from engine.pjsip.clock import TICK_S
from engine.pjsip.library import Text, find_dialog, header_list, pjlib, tag_of
from engine.pjsip.structures import ON_MESSAGE, MessageInfo, Module, offset_of_message_info
from engine.sip.dtmf import info_digit
from engine.sip.message import Request, read, write
from engine.sip.syntax import Malformed

log = logging.getLogger("trunkline.sip")

METHODS: Final = ("INVITE", "ACK", "CANCEL", "BYE", "UPDATE", "PRACK", "INFO", "OPTIONS")
EXTENSIONS: Final = ("100rel", "timer")

Headers = tuple[tuple[str, str], ...]
Answer = tuple[int, Headers]

_ALLOW = ("Allow", ", ".join(METHODS))
_ABLE: Headers = (_ALLOW, ("Accept", "application/sdp"), ("Supported", ", ".join(EXTENSIONS)))
_KEYS: Headers = (("Accept", "application/dtmf-relay, application/dtmf"),)


def answer_to(data: bytes, *, takes_calls: bool, in_dialog: Callable[[str, str, str], bool]) -> Answer | None:
    """The status and headers with which to answer the request in ``data`` at once; None when PJSIP is to serve it.

    ``in_dialog`` takes a Call-ID, our tag and theirs.
    """
    try:
        request = read(data)
    except Malformed as error:
        return None if data.startswith(b"ACK ") else (error.status, ())  # an ACK is never answered
    if not isinstance(request, Request):
        return None
    if request.method not in METHODS:
        return 405, (_ALLOW,)
    if request.method in ("ACK", "CANCEL"):
        return None
    if unknown := [option for option in request.all("Require") if option.lower() not in EXTENSIONS]:
        return 420, (("Unsupported", ", ".join(unknown)),)
    ours, theirs = tag_of(request, "To"), tag_of(request, "From")
    if request.method == "INVITE":
        return (403, ()) if not takes_calls and (not ours or request.first("Replaces") is not None) else None
    if request.method in ("OPTIONS", "INFO"):
        if (ours or request.method == "INFO") and not in_dialog(request.first("Call-ID") or "", ours, theirs):
            return 481, ()
        return (200, _ABLE) if request.method == "OPTIONS" else _answer_to_info(request)
    return None


def _answer_to_info(request: Request) -> Answer | None:
    if not request.body:
        return 200, ()  # RFC 2976 §2.2: a check that we are still there
    if not (request.first("Content-Type") or "").lower().startswith("application/dtmf"):
        return 415, _KEYS
    return None if info_digit(write(request).decode("utf-8", "replace")) else (400, ())


class Budget:
    """The number of requests that are inspected in a tick of the audio, which must not wait for them. Any more are a
    flood and are dropped unread; an honest sender sends again (RFC 3261 §17.1.1.2, §17.1.2.2)."""

    MOST: Final = 20

    def __init__(self) -> None:
        self._ends_s = 0.0
        self._spent = 0

    def spend(self, now_s: float) -> bool:
        """Whether to inspect one more request; counts it."""
        if now_s >= self._ends_s:
            self._ends_s, self._spent = now_s + TICK_S, 0
        self._spent += 1
        return self._spent <= self.MOST


# -- in front of PJSIP -------------------------------------------------------------------------------------------------

_H_ALLOW, _H_SUPPORTED = 4, 36  # pjsip_hdr_e
_PRIORITY = 24  # between PJSIP's transactions (16) and its dialogs (32)


class _Capability(ctypes.Structure):
    """The first fields of ``pjsip_generic_array_hdr`` (pjsip/sip_msg.h)."""

    _fields_ = (
        ("list", ctypes.c_void_p * 2),
        ("type", ctypes.c_int),
        ("name", Text),
        ("short_name", Text),
        ("functions", ctypes.c_void_p),
        ("count", ctypes.c_uint),
        ("values", ctypes.c_size_t * 2 * 32),  # pj_str_t; only passed on, never read
    )


for _function in (pjlib.pjsua_get_pjsip_endpt, pjlib.pjsip_endpt_get_capability):
    _function.restype = ctypes.c_void_p
pjlib.pjsip_endpt_get_capability.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
pjlib.pjsip_endpt_register_module.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
pjlib.pjsip_endpt_respond_stateless.argtypes = (
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
)


class Inspection:
    """A module in front of the process's endpoint, from its creation until the process ends.

    ``takes_calls``: an INVITE for a new call reaches PJSIP instead of being refused with 403.
    """

    def __init__(self, budget: Budget, *, takes_calls: bool) -> None:
        self._takes_calls = takes_calls
        self._endpoint = pjlib.pjsua_get_pjsip_endpt()
        self._message_info = offset_of_message_info()
        self._budget = budget
        for kind, spoken in ((_H_ALLOW, METHODS), (_H_SUPPORTED, EXTENSIONS)):
            self._announce(kind, spoken)
        self._module = Module(
            name=Text.of("inspection"), id=-1, priority=_PRIORITY, on_rx_request=ON_MESSAGE(self._on_request)
        )
        if pjlib.pjsip_endpt_register_module(self._endpoint, ctypes.addressof(self._module)) != 0:
            raise RuntimeError("PJSIP refused a module in front of its modules")

    def _announce(self, kind: int, spoken: tuple[str, ...]) -> None:
        """Reduce PJSIP's Allow or Supported to the values in ``spoken``."""
        header = _Capability.from_address(pjlib.pjsip_endpt_get_capability(self._endpoint, kind, None))
        values = [tuple(value) for value in header.values[: header.count]]
        kept = [value for value in values if ctypes.string_at(*value).decode() in spoken]
        header.values[: len(kept)], header.count = [*kept], len(kept)

    def _on_request(self, rdata: int) -> int:
        if not self._budget.spend(time.monotonic()):
            return True
        try:
            received = MessageInfo.from_address(rdata + self._message_info)
            request = ctypes.string_at(received.text, received.length)
            answer = answer_to(request, takes_calls=self._takes_calls, in_dialog=_in_dialog)
            if answer is not None:
                self._respond(rdata, *answer)
            return answer is not None
        except Exception:
            log.exception("cannot inspect a request; dropping it")
            return True

    def _respond(self, rdata: int, status: int, fields: Headers) -> None:
        with header_list(*fields) as headers:
            pjlib.pjsip_endpt_respond_stateless(self._endpoint, rdata, status, None, headers, None)


def _in_dialog(call_id: str, ours: str, theirs: str) -> bool:
    return bool(find_dialog(call_id, ours, theirs))
