"""Structures of the PJSIP build that are read and written by ctypes (64-bit Linux)."""

from __future__ import annotations

import ctypes
import socket
import struct
from functools import cache
from typing import Final

from engine.pjsip.library import Text, new_pool, pjlib

ON_MESSAGE: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
"""``on_rx_request`` and its kind: takes a ``pjsip_rx_data``; true stops the message here."""
SEND_MESSAGE: Final = ctypes.CFUNCTYPE(
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
)
"""``send_msg``: transport, ``pjsip_tx_data``, remote address and its length, token, callback."""
ON_TRANSPORT: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
"""``do_shutdown`` and ``destroy`` of a transport."""
MEDIA_UDP: Final = 0
"""One of ``pjmedia_transport_type``."""
MEDIA_DESTROY: Final = 11
"""The place of ``destroy`` in ``pjmedia_transport_op``."""
MEDIA_OPERATIONS: Final = MEDIA_DESTROY + 1
SOCKET_ADDRESS_SIZE: Final = 28
"""``pj_sockaddr``: an IPv4 or an IPv6 address."""

pjlib.pjsip_parse_rdata.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
pjlib.pjsip_parse_rdata.restype = ctypes.c_void_p


class Module(ctypes.Structure):
    """``pjsip_module`` (pjsip/sip_module.h)."""

    _fields_ = (
        ("prev", ctypes.c_void_p),
        ("next", ctypes.c_void_p),
        ("name", Text),
        ("id", ctypes.c_int),
        ("priority", ctypes.c_int),
        ("life", ctypes.c_void_p * 4),
        ("on_rx_request", ON_MESSAGE),
        ("others", ctypes.c_void_p * 4),
    )


class MessageInfo(ctypes.Structure):
    """The first fields of ``msg_info`` of ``pjsip_rx_data`` (pjsip/sip_transport.h)."""

    _fields_ = (("text", ctypes.c_void_p), ("length", ctypes.c_int), ("message", ctypes.c_void_p))


class HostPort(ctypes.Structure):
    """``pjsip_host_port`` (pjsip/sip_transport.h)."""

    _fields_ = (("host", Text), ("port", ctypes.c_int))


class Transport(ctypes.Structure):
    """``pjsip_transport`` (pjsip/sip_transport.h)."""

    _fields_ = (
        ("obj_name", ctypes.c_char * 32),
        ("pool", ctypes.c_void_p),
        ("ref_cnt", ctypes.c_void_p),
        ("lock", ctypes.c_void_p),
        ("grp_lock", ctypes.c_void_p),
        ("tracing", ctypes.c_int),
        ("is_shutdown", ctypes.c_int),
        ("is_destroying", ctypes.c_int),
        ("type", ctypes.c_long),
        ("rem_addr", ctypes.c_char * SOCKET_ADDRESS_SIZE),
        ("type_name", ctypes.c_char_p),
        ("flag", ctypes.c_uint),
        ("info", ctypes.c_char_p),
        ("addr_len", ctypes.c_int),
        ("local_addr", ctypes.c_char * SOCKET_ADDRESS_SIZE),
        ("local_name", HostPort),
        ("remote_name", HostPort),
        ("dir", ctypes.c_int),
        ("endpt", ctypes.c_void_p),
        ("tpmgr", ctypes.c_void_p),
        ("factory", ctypes.c_void_p),
        ("idle_timer", ctypes.c_char * 32),
        ("last_recv_ts", ctypes.c_char * 8),
        ("last_recv_len", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("initial_timeout", ctypes.c_uint),
        ("send_msg", SEND_MESSAGE),
        ("do_shutdown", ON_TRANSPORT),
        ("destroy", ON_TRANSPORT),
        ("spare", ctypes.c_char * 256),  # a later version may have more fields
    )


class MediaTransport(ctypes.Structure):
    """The first fields of ``pjmedia_transport`` (pjmedia/transport.h)."""

    _fields_ = (("name", ctypes.c_char * 32), ("type", ctypes.c_int), ("op", ctypes.POINTER(ctypes.c_void_p)))


class PrintedMessage(ctypes.Structure):
    """``pjsip_tx_data`` (pjsip/sip_transport.h) up to its ``buf``: the text lies between ``start`` and ``cur``."""

    _fields_ = (("before", ctypes.c_char * 408), ("start", ctypes.c_void_p), ("cur", ctypes.c_void_p))


class ReceivedPacket(ctypes.Structure):
    """``pjsip_rx_data`` (pjsip/sip_transport.h) up to its packet, whose size is the build's PJSIP_MAX_PKT_LEN."""

    _fields_ = (
        ("pool", ctypes.c_void_p),
        ("transport", ctypes.c_void_p),
        ("tp_data", ctypes.c_void_p),
        ("op_key", ctypes.c_char * 280),
        ("timestamp", ctypes.c_long * 2),
    )


class PacketSource(ctypes.Structure):
    """The fields after the packet in ``pjsip_rx_data``, up to its ``msg_info``."""

    _fields_ = (
        ("zero", ctypes.c_uint32),
        ("len", ctypes.c_ssize_t),
        ("src_addr", ctypes.c_char * SOCKET_ADDRESS_SIZE),
        ("src_addr_len", ctypes.c_int),
        ("src_name", ctypes.c_char * 46),
        ("src_port", ctypes.c_int),
    )


@cache
def offset_of_message_info() -> int:
    """The offset of ``msg_info`` in a ``pjsip_rx_data``. It depends on the build's longest packet."""
    text = b"ACK sip:a SIP/2.0\r\nCall-ID: a\r\n\r\n"
    with new_pool() as pool:
        rdata, packet = ctypes.create_string_buffer(1 << 18), ctypes.create_string_buffer(text)
        ctypes.c_void_p.from_buffer(rdata).value = pool
        message = pjlib.pjsip_parse_rdata(packet, len(text), rdata)
        place = rdata.raw.find(message.to_bytes(8, "little"))
    return place - MessageInfo.message.offset


def packet_limit() -> int:
    """The build's PJSIP_MAX_PKT_LEN: the bytes of a packet, with its terminating zero."""
    return offset_of_message_info() - ctypes.sizeof(ReceivedPacket) - ctypes.sizeof(PacketSource)


def socket_address(ip: str, port: int) -> bytes:
    """``pj_sockaddr`` of a literal IPv4 or IPv6 address."""
    if ":" in ip:
        packed = struct.pack("!HI16sI", port, 0, socket.inet_pton(socket.AF_INET6, ip), 0)
        return struct.pack("=H", socket.AF_INET6) + packed
    packed = struct.pack("!H4s20x", port, socket.inet_pton(socket.AF_INET, ip))
    return struct.pack("=H", socket.AF_INET) + packed
