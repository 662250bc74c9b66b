"""Switches a call's stream to another of the negotiated codecs, without a message to the far end.

PJSUA starts a stream with the first common format. Its own remedy for an answer with several, ``lockCodecEnabled``,
sends a re-INVITE after every such answer. Carriers refuse that, and some end the call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from engine.pjsip.library import pjlib
from engine.sip.sdp import Unreadable, read, with_codecs

_DONE = 4  # PJMEDIA_SDP_NEG_STATE_DONE
_MAX_SDP = 8_192
_POOL_AT = 32
_DIALOG_AT = range(96, 160, 8)
_NEGOTIATOR_BEHIND = 16
"""``pjsip_inv_session`` (pjsip-ua/sip_inv.h) begins with a name and its pool. Its dialog follows somewhere below, then
role, options and negotiator. On a build where the dialog is not found there, the codec never changes."""

_session_of = pjlib.pjsip_dlg_get_inv_session
_session_of.argtypes = (ctypes.c_void_p,)
_session_of.restype = ctypes.c_void_p
_state = pjlib.pjmedia_sdp_neg_get_state
_state.argtypes = (ctypes.c_void_p,)
_local = pjlib.pjmedia_sdp_neg_get_active_local
_remote = pjlib.pjmedia_sdp_neg_get_active_remote
_print = pjlib.pjmedia_sdp_print
_print.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
_parse = pjlib.pjmedia_sdp_parse
_parse.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_allocate = pjlib.pj_pool_alloc
_allocate.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_allocate.restype = ctypes.c_void_p
_update = pjlib.pjsua_media_channel_update
_update.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
for _function in (_local, _remote):
    _function.argtypes = (ctypes.c_void_p, ctypes.c_void_p)


class Negotiated:
    """The last negotiation of a dialog (``pjsip_dialog``). The dialog must live as long as this object is used."""

    def __init__(self, dialog: int) -> None:
        self._session = _session_of(dialog) or 0
        at = next((at for at in _DIALOG_AT if self._pointer(at) == dialog), None)
        self._negotiator = None if at is None else self._pointer(at + _NEGOTIATOR_BEHIND)

    def codecs(self, spoken: Sequence[str]) -> tuple[str, ...]:
        """Those of ``spoken`` that both sides named, in the far end's order. With fewer than two the codec is fixed."""
        try:
            described = [read(text.encode("utf-8", "replace")).codecs for text in self._texts()]
        except Unreadable:
            return ()
        if not described:
            return ()
        ours, theirs = described
        return tuple(codec for codec in theirs if codec in ours and codec in spoken)

    def switch(self, call_id: int, codec: str) -> bool:
        """Restart the stream with ``codec``. Meanwhile PJSUA reports the end of the old stream and then the new one."""
        pool = self._pointer(_POOL_AT)
        parsed = []
        for text in self._texts():
            # PJMEDIA keeps pointers into the text, so it must live as long as the dialog.
            written = with_codecs(text, [codec]).encode("utf-8", "replace")
            size = len(written)
            copy = _allocate(pool, size + 1)
            ctypes.memmove(copy, written + b"\0", size + 1)
            description = ctypes.c_void_p()
            if _parse(pool, copy, size, ctypes.byref(description)) != 0:
                return False
            parsed.append(description)
        return len(parsed) == 2 and _update(call_id, *parsed) == 0

    def _texts(self) -> list[str]:
        """Our description and the far end's; empty during another negotiation."""
        if not self._negotiator or _state(self._negotiator) != _DONE:
            return []
        texts = []
        for active in (_local, _remote):
            description = ctypes.c_void_p()
            buffer = ctypes.create_string_buffer(_MAX_SDP)
            if active(self._negotiator, ctypes.byref(description)) != 0:
                return []
            size = _print(description, buffer, _MAX_SDP)
            if size <= 0:
                return []
            texts.append(buffer.raw[:size].decode("utf-8", "replace"))
        return texts

    def _pointer(self, at: int) -> int | None:
        return ctypes.c_void_p.from_address(self._session + at).value if self._session else None
