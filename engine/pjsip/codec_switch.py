"""A call's stream decodes and sends another codec of the negotiated ones, with nothing said to the far end.

PJSUA starts a stream with the first common format. Its own cure for an answer with several, ``lockCodecEnabled``, is a
re-INVITE after every such answer, which carriers refuse and some end the call for.
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
"""``pjsip_inv_session`` (pjsip-ua/sip_inv.h) begins with a name and its pool; somewhere below it has its dialog, then
role, options and negotiator. A build where the dialog is not found there never changes the codec."""

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
    """What was last negotiated in a dialog (``pjsip_dialog``), which is to live as long as this is used."""

    def __init__(self, dialog: int) -> None:
        self._session = _session_of(dialog) or 0
        at = next((at for at in _DIALOG_AT if self._pointer(at) == dialog), None)
        self._negotiator = None if at is None else self._pointer(at + _NEGOTIATOR_BEHIND)

    def codecs(self, spoken: Sequence[str]) -> tuple[str, ...]:
        """Those of ``spoken`` that both sides named, in the order of the far end; fewer than two can never change."""
        try:
            described = [read(text.encode("utf-8", "replace")).codecs for text in self._texts()]
        except Unreadable:
            return ()
        if not described:
            return ()
        ours, theirs = described
        return tuple(codec for codec in theirs if codec in ours and codec in spoken)

    def switch(self, call_id: int, codec: str) -> bool:
        """Start the stream again with ``codec``; PJSUA reports the end of the old one and the new one meanwhile."""
        pool = self._pointer(_POOL_AT)
        parsed = []
        for text in self._texts():
            # PJMEDIA keeps pointers into the text: it lives as long as the dialog does.
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
        """Our description and the far end's; none while another is being negotiated."""
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
