"""PJSIP's only transport in a process behind the SIP edge: messages over the link, one datagram each.

PJSIP sees a UDP transport, which is unreliable. So it retransmits and absorbs as RFC 3261 §17 says for UDP.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Final

from engine.errors import SipError
from engine.pjsip.layout import check_layout, keep_long_requests_on_udp
from engine.pjsip.library import Text, pjlib
from engine.pjsip.structures import (
    ON_TRANSPORT,
    SEND_MESSAGE,
    HostPort,
    PacketSource,
    PrintedMessage,
    ReceivedPacket,
    Transport,
    packet_limit,
    socket_address,
)

log = logging.getLogger("trunkline.sip")

EDGE: Final = ("127.0.0.1", 5060)
"""The address that PJSIP sees as the source and target of every message."""

_UDP = 1  # PJSIP_TRANSPORT_UDP
_DATAGRAM = 4  # PJSIP_TRANSPORT_DATAGRAM
_IPV4_LENGTH = 16
_NOT_SENT = 70001  # PJ_EUNKNOWN
_AFTER_PACKET = 8192
"""Space for the fields that follow the packet in ``pjsip_rx_data``."""

for _create in (pjlib.pjsua_get_pjsip_endpt, pjlib.pjsip_endpt_get_tpmgr, pjlib.pjsua_pool_create):
    _create.restype = ctypes.c_void_p
pjlib.pjsip_endpt_get_tpmgr.argtypes = (ctypes.c_void_p,)
pjlib.pjsua_pool_create.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t)
pjlib.pj_pool_reset.argtypes = (ctypes.c_void_p,)
pjlib.pj_pool_reset.restype = None
pjlib.pj_atomic_create.argtypes = (ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p)
pjlib.pj_lock_create_recursive_mutex.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
for _with_transport in (pjlib.pjsip_transport_register, pjlib.pjsua_transport_register):
    _with_transport.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
pjlib.pjsip_transport_add_ref.argtypes = (ctypes.c_void_p,)
pjlib.pjsip_tpmgr_receive_packet.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
pjlib.pjsip_tpmgr_receive_packet.restype = ctypes.c_ssize_t


class LinkTransport:
    """Made once for each PJSIP instance, after ``libInit``, and kept as long as the process lives.

    ``send`` gets each message that PJSIP sends, at once and whole; if it raises ``OSError``, PJSIP sees a transport
    error. ``local_host`` and ``local_port`` stand in PJSIP's Via and Contact. ``id`` is for the accounts. Raises
    ``SipError`` when the build's structures are not the expected ones.
    """

    def __init__(self, send: Callable[[bytes], None], *, local_host: str, local_port: int) -> None:
        check_layout()
        keep_long_requests_on_udp()
        self._send = send
        self._limit = packet_limit()
        endpoint = pjlib.pjsua_get_pjsip_endpt()
        self._manager = pjlib.pjsip_endpt_get_tpmgr(endpoint)
        self._host = Text.of(local_host)
        self._callbacks = SEND_MESSAGE(self._send_message), ON_TRANSPORT(_nothing)
        self._transport = self._make(endpoint, local_host, local_port)
        self._address = ctypes.addressof(self._transport)
        self.id = self._register()
        self._packet = self._packet_buffer()

    def receive(self, message: bytes) -> None:
        """Pass a message to PJSIP. A message above the build's limit is dropped. Not to be called by ``send``."""
        length = len(message)
        if not 0 < length < self._limit:
            log.error("dropping a SIP message of %d bytes: PJSIP takes %d at most", length, self._limit - 1)
            return
        start = ctypes.addressof(self._packet)
        text = start + ctypes.sizeof(ReceivedPacket)
        ctypes.memmove(text, message, length)
        after = text + self._limit
        ctypes.memset(after, 0, _AFTER_PACKET)
        source = PacketSource.from_address(after)
        source.len = length
        ctypes.memmove(after + PacketSource.src_addr.offset, socket_address(*EDGE), _IPV4_LENGTH)
        source.src_addr_len = _IPV4_LENGTH
        source.src_name, source.src_port = EDGE[0].encode(), EDGE[1]
        head = ReceivedPacket.from_address(start)
        head.pool, head.transport, head.tp_data = self._packet_pool, self._address, None
        pjlib.pj_gettimeofday(ctypes.byref(self._packet, ReceivedPacket.timestamp.offset))
        pjlib.pjsip_tpmgr_receive_packet(self._manager, start)
        pjlib.pj_pool_reset(self._packet_pool)

    def _make(self, endpoint: int, local_host: str, local_port: int) -> Transport:
        pool = pjlib.pjsua_pool_create(b"link", 1024, 1024)
        references, lock = ctypes.c_void_p(), ctypes.c_void_p()
        pjlib.pj_atomic_create(pool, 0, ctypes.addressof(references))
        pjlib.pj_lock_create_recursive_mutex(pool, b"link", ctypes.addressof(lock))
        sends, ends = self._callbacks
        transport = Transport(
            obj_name=b"link",
            pool=pool,
            ref_cnt=references.value,
            lock=lock.value,
            type=_UDP,
            type_name=b"UDP",
            flag=_DATAGRAM,
            info=b"the link to the SIP edge",
            addr_len=_IPV4_LENGTH,
            local_name=HostPort(host=self._host, port=local_port),
            remote_name=HostPort(host=Text.of("0.0.0.0"), port=0),
            endpt=endpoint,
            tpmgr=self._manager,
            send_msg=sends,
            do_shutdown=ends,
            destroy=ends,
        )
        place = ctypes.addressof(transport)
        for field, address in (
            (Transport.rem_addr, socket_address("0.0.0.0", 0)),
            (Transport.local_addr, socket_address(local_host, local_port)),
        ):
            ctypes.memmove(place + field.offset, address, _IPV4_LENGTH)
        return transport

    def _register(self) -> int:
        status = pjlib.pjsip_transport_register(self._manager, self._address)
        if status != 0:
            raise SipError(f"PJSIP refused the transport of the link (status {status}).")
        pjlib.pjsip_transport_add_ref(self._address)  # otherwise PJSIP closes it when it is idle
        account_id = ctypes.c_int(-1)
        status = pjlib.pjsua_transport_register(self._address, ctypes.addressof(account_id))
        if status != 0:
            raise SipError(f"PJSIP gave the transport of the link no id (status {status}).")
        return account_id.value

    def _packet_buffer(self) -> ctypes.Array[ctypes.c_char]:
        self._packet_pool = pjlib.pjsua_pool_create(b"linkrx", 4000, 4000)
        return ctypes.create_string_buffer(ctypes.sizeof(ReceivedPacket) + self._limit + _AFTER_PACKET)

    def _send_message(
        self,
        transport: int | None,
        tdata: int,
        address: int | None,
        length: int,
        token: int | None,
        callback: int | None,
    ) -> int:
        try:
            printed = PrintedMessage.from_address(tdata)
            self._send(ctypes.string_at(printed.start, printed.cur - printed.start))
        except Exception:  # ctypes would drop it silently, and the message with it
            log.exception("cannot send a SIP message to the edge")
            return _NOT_SENT
        return 0


def _nothing(transport: int | None) -> int:
    """Does nothing: the link lives as long as the process."""
    return 0
