"""Puts the machine's hosts file into PJSIP's own resolver, which asks only DNS.

A name stays a name in every URI: the certificate of a TLS server is compared with it, and it is sent to the server
(SNI).
"""

from __future__ import annotations

import ctypes
import ipaddress
from collections.abc import Mapping

from engine.pjsip.library import Text, pjlib

_A, _IN = 1, 1  # RFC 1035 §3.2.2, §3.2.4
_RESPONSE = 0x8000  # RFC 1035 §4.1.1: QR
_FOR_EVER = 0  # pj_dns_resolver_add_entry: no time to live


class _Question(ctypes.Structure):
    """``pj_dns_parsed_query`` (pjlib-util/dns.h)."""

    _fields_ = (("name", Text), ("type", ctypes.c_uint16), ("dns_class", ctypes.c_uint16))


class _Packet(ctypes.Structure):
    """``pj_dns_parsed_packet`` (pjlib-util/dns.h)."""

    _fields_ = (
        ("id", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("questions", ctypes.c_uint16),
        ("answers", ctypes.c_uint16),
        ("authorities", ctypes.c_uint16),
        ("additionals", ctypes.c_uint16),
        ("question", ctypes.c_void_p),
        ("answer", ctypes.c_void_p),
        ("authority", ctypes.c_void_p),
        ("additional", ctypes.c_void_p),
    )


_RECORD_SIZE = 128  # pj_dns_parsed_rr is 64 bytes on x86-64; pj_dns_init_a_rr fills it in

_get_endpoint = pjlib.pjsua_get_pjsip_endpt
_get_endpoint.restype = ctypes.c_void_p
_get_resolver = pjlib.pjsip_endpt_get_resolver
_get_resolver.argtypes = (ctypes.c_void_p,)
_get_resolver.restype = ctypes.c_void_p
_init_record = pjlib.pj_dns_init_a_rr
_init_record.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p)
_init_record.restype = None
_add_entry = pjlib.pj_dns_resolver_add_entry
_add_entry.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)


def remember(hosts: Mapping[str, str]) -> None:
    """Resolve these names to these IPv4 addresses, before any DNS server is asked; to be called after ``libInit``.

    This works only for address records: a URI must name its port, or SRV is asked first (RFC 3263 §4.2).
    """
    resolver = _get_resolver(_get_endpoint())
    for host, address in hosts.items():
        name = Text.of(host)
        packed = ctypes.create_string_buffer(ipaddress.IPv4Address(address).packed, 4)
        record = ctypes.create_string_buffer(_RECORD_SIZE)
        _init_record(ctypes.addressof(record), ctypes.addressof(name), _IN, _FOR_EVER, ctypes.addressof(packed))
        question = _Question(name=name, type=_A, dns_class=_IN)
        packet = _Packet(
            flags=_RESPONSE,
            questions=1,
            question=ctypes.addressof(question),
            answers=1,
            answer=ctypes.addressof(record),
        )
        _add_entry(resolver, ctypes.addressof(packet), _FOR_EVER)
