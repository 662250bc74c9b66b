"""Checks at start that PJSIP's structures have the layout that ``engine.pjsip.structures`` expects.

PJSIP makes a UDP transport on loopback, receives a message through it and prints another. The fields that it wrote are
compared.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import SipError
from engine.pjsip.library import Text, pjlib
from engine.pjsip.rtp_sockets import RtpPair, RtpPorts, destroy_media_transport
from engine.pjsip.structures import (
    MEDIA_OPERATIONS,
    MEDIA_UDP,
    ON_MESSAGE,
    MediaTransport,
    MessageInfo,
    Module,
    PacketSource,
    PrintedMessage,
    ReceivedPacket,
    Transport,
    offset_of_message_info,
    packet_limit,
    socket_address,
)

_UDP = 1  # PJSIP_TRANSPORT_UDP
_DATAGRAM = 4  # PJSIP_TRANSPORT_DATAGRAM
_FIRST = 1  # before every module of PJSIP
_WITHIN_S = 5.0
_REQUEST = b"OPTIONS sip:layout@127.0.0.1 SIP/2.0\r\n"
_RECEIVED = (
    _REQUEST + b"Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKlayout\r\nFrom: <sip:layout@127.0.0.1>;tag=1\r\n"
    b"To: <sip:layout@127.0.0.1>\r\nCall-ID: layout\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)

for _function in (pjlib.pjsua_get_pjsip_endpt, pjlib.pjsip_endpt_get_tpmgr):
    _function.restype = ctypes.c_void_p
pjlib.pjsip_endpt_get_tpmgr.argtypes = (ctypes.c_void_p,)
pjlib.pjsip_udp_transport_start.argtypes = (
    *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
    *(ctypes.c_uint, ctypes.c_void_p),
)
pjlib.pjsip_transport_shutdown.argtypes = (ctypes.c_void_p,)
pjlib.pjsip_endpt_handle_events.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
pjlib.pjsip_endpt_register_module.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
pjlib.pjsip_endpt_unregister_module.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
pjlib.pjsip_endpt_create_request.argtypes = (
    *(ctypes.c_void_p,) * 7,
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
)
pjlib.pjmedia_transport_srtp_create.argtypes = (
    *(ctypes.c_void_p, ctypes.c_void_p),
    *(ctypes.c_void_p, ctypes.c_void_p),
)
pjlib.pjsip_tx_data_encode.argtypes = (ctypes.c_void_p,)
pjlib.pjsip_tx_data_dec_ref.argtypes = (ctypes.c_void_p,)


class _Method(ctypes.Structure):
    """``pjsip_method`` (pjsip/sip_msg.h)."""

    _fields_ = (("id", ctypes.c_int), ("name", Text))


_OPTIONS_METHOD = 4  # PJSIP_OPTIONS_METHOD


def check_layout() -> None:
    """Compare every offset that the link relies on with the fields that PJSIP writes. To be called after ``libInit``
    and before any other transport is made. Raises ``SipError`` when one differs."""
    limit = packet_limit()
    if not 1500 <= limit < 1 << 17 or limit % 8:
        raise _differs("pjsip_rx_data", f"a packet limit of {limit} bytes")
    _check_printed_message()
    with _udp_transport() as (transport, port):
        _check_transport(transport, port)
        _check_received_message(transport, port)


def _differs(structure: str, found: str) -> SipError:
    return SipError(
        f"This build of PJSIP has another layout of {structure} ({found}), so its messages cannot be passed on. "
        "Use the pjsua2-python package that this version of Trunkline names."
    )


def _expect(structure: str, **found: tuple[object, object]) -> None:
    for name, (value, wanted) in found.items():
        if value != wanted:
            raise _differs(structure, f"{name} is {value!r}, expected {wanted!r}")


@contextmanager
def _udp_transport() -> Iterator[tuple[int, int]]:
    """The address of one of PJSIP's UDP transports on loopback, and its port; closed at the end."""
    endpoint = pjlib.pjsua_get_pjsip_endpt()
    made = ctypes.c_void_p()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    address = socket_address("127.0.0.1", port)
    status = pjlib.pjsip_udp_transport_start(endpoint, address, None, 1, ctypes.addressof(made))
    if status != 0 or not made.value:
        raise SipError(f"PJSIP opened no UDP transport on loopback to check its layout (status {status}).")
    try:
        yield made.value, port
    finally:
        pjlib.pjsip_transport_shutdown(made)
        for _ in range(3):  # a timer destroys it
            _handle_events()


def _handle_events() -> None:
    at_once = (ctypes.c_long * 2)()
    pjlib.pjsip_endpt_handle_events(pjlib.pjsua_get_pjsip_endpt(), ctypes.addressof(at_once))


def _check_transport(address: int, port: int) -> None:
    transport = Transport.from_address(address)
    endpoint = pjlib.pjsua_get_pjsip_endpt()
    _expect(
        "pjsip_transport",
        type=(transport.type, _UDP),
        flag=(transport.flag, _DATAGRAM),
        endpt=(transport.endpt, endpoint),
        tpmgr=(transport.tpmgr, pjlib.pjsip_endpt_get_tpmgr(endpoint)),
        factory=(transport.factory, None),
        addr_len=(transport.addr_len, 16),
        rem_addr=(_raw(address + Transport.rem_addr.offset), socket_address("0.0.0.0", 0)[:16]),
        local_addr=(_raw(address + Transport.local_addr.offset), socket_address("127.0.0.1", port)[:16]),
        type_name=(_c_string(address + Transport.type_name.offset), b"UDP"),
    )
    name = address + Transport.local_name.offset
    _expect("pjsip_transport", local_name=(_host_port(name), (b"127.0.0.1", port)))
    for function in (Transport.send_msg, Transport.do_shutdown, Transport.destroy):
        if not _is_function(ctypes.c_void_p.from_address(address + function.offset).value):
            raise _differs("pjsip_transport", "send_msg, do_shutdown and destroy are not functions")


def _raw(place: int) -> bytes:
    return ctypes.string_at(place, 16)


def _readable(pointer: int | None, size: int) -> bool:
    """Whether the process may read ``size`` bytes at ``pointer``: a wrong layout must not crash it."""
    return any(first <= (pointer or 0) and (pointer or 0) + size <= last for first, last, _ in _memory())


def _c_string(place: int) -> bytes:
    pointer = ctypes.c_void_p.from_address(place).value
    return ctypes.string_at(pointer, 4).rstrip(b"\0") if pointer and _readable(pointer, 4) else b""


def _host_port(place: int) -> tuple[bytes, int]:
    text, length = ctypes.c_void_p.from_address(place).value, ctypes.c_ssize_t.from_address(place + 8).value
    host = ctypes.string_at(text, length) if text and 0 < length < 64 and _readable(text, length) else b""
    return host, ctypes.c_int.from_address(place + 16).value


def _memory() -> list[tuple[int, int, str]]:
    """The readable mappings of the process: first byte, end, permissions."""
    found = []
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            span, permissions = line.split(" ", 2)[:2]
            first, last = span.split("-")
            if permissions.startswith("r"):
                found.append((int(first, 16), int(last, 16), permissions))
    return found


def _is_function(pointer: int | None) -> bool:
    """Whether ``pointer`` points into this instance's code."""
    known = ctypes.cast(pjlib.pjsip_tpmgr_receive_packet, ctypes.c_void_p).value or 0
    code = [(first, last) for first, last, allowed in _memory() if "x" in allowed and first <= known < last]
    return any(first <= (pointer or 0) < last for first, last in code)


def _check_received_message(transport: int, port: int) -> None:
    limit, info = packet_limit(), offset_of_message_info()
    found: dict[str, tuple[object, object]] = {}

    def inspect(rdata: int) -> int:
        packet = ReceivedPacket.from_address(rdata)
        text = rdata + ctypes.sizeof(ReceivedPacket)
        source = PacketSource.from_address(text + limit)
        message = MessageInfo.from_address(rdata + info)
        found.update(
            transport=(packet.transport, transport),
            packet=(ctypes.string_at(text, len(_RECEIVED)), _RECEIVED),
            zero=(source.zero, 0),
            len=(source.len, len(_RECEIVED)),
            src_addr=(_raw(text + limit + PacketSource.src_addr.offset), socket_address(*sender.getsockname())[:16]),
            src_addr_len=(source.src_addr_len, 16),
            src_name=(source.src_name, b"127.0.0.1"),
            src_port=(source.src_port, sender.getsockname()[1]),
            msg_info=(message.text, text),
            msg_len=(message.length, len(_RECEIVED)),
        )
        return True

    endpoint = pjlib.pjsua_get_pjsip_endpt()
    module = Module(name=Text.of("layout"), id=-1, priority=_FIRST, on_rx_request=ON_MESSAGE(inspect))
    if pjlib.pjsip_endpt_register_module(endpoint, ctypes.addressof(module)) != 0:
        raise SipError("PJSIP refused a module to check its layout.")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            deadline_s = time.monotonic() + _WITHIN_S
            while not found and time.monotonic() < deadline_s:
                sender.sendto(_RECEIVED, ("127.0.0.1", port))
                _handle_events()
    finally:
        pjlib.pjsip_endpt_unregister_module(endpoint, ctypes.addressof(module))
    if not found:
        raise SipError("PJSIP received no message on loopback, so its layout could not be checked.")
    _expect("pjsip_rx_data", **found)


def _check_printed_message() -> None:
    """Have PJSIP print a request, and find its text."""
    uri, call_id = Text.of("sip:layout@127.0.0.1"), Text.of("layout")
    method = _Method(id=_OPTIONS_METHOD, name=Text.of("OPTIONS"))
    tdata = ctypes.c_void_p()
    uris = (ctypes.addressof(uri),) * 3
    status = pjlib.pjsip_endpt_create_request(
        pjlib.pjsua_get_pjsip_endpt(),
        ctypes.addressof(method),
        *uris,
        None,
        ctypes.addressof(call_id),
        1,
        None,
        ctypes.addressof(tdata),
    )
    if status != 0 or not tdata.value:
        raise SipError(f"PJSIP made no request to check its layout (status {status}).")
    try:
        pjlib.pjsip_tx_data_encode(tdata)
        printed = PrintedMessage.from_address(tdata.value)
        length = (printed.cur or 0) - (printed.start or 0)
        readable = 0 < length < packet_limit() and _readable(printed.start, length)
        text = ctypes.string_at(printed.start, length) if readable else b""
        if not text.startswith(_REQUEST) or not text.endswith(b"\r\n\r\n"):
            raise _differs("pjsip_tx_data", "its text is not where it should be")
    finally:
        pjlib.pjsip_tx_data_dec_ref(tdata)


# -- pjsip_cfg_t -------------------------------------------------------------------------------------------------------

_SWITCHES = 13
"""``endpt`` of ``pjsip_cfg_t`` (pjsip/sip_config.h) in 2.15; later versions have more."""
_DISABLE_TCP_SWITCH = 4
_TIMERS_MS = (500, 4000, 5000, 32000)


def keep_long_requests_on_udp() -> None:
    """Have PJSIP send requests above 1,300 bytes over the given transport (``disable_tcp_switch``). Raises ``SipError``
    when the setting is not at the expected place."""
    settings = (ctypes.c_int * 64).in_dll(pjlib, "pjsip_sip_cfg_var")
    values = list(settings)
    timers = next((place for place in range(len(values) - 4) if tuple(values[place : place + 4]) == _TIMERS_MS), None)
    switches = values[: timers - 1] if timers else []
    around = switches[:_DISABLE_TCP_SWITCH] + switches[_DISABLE_TCP_SWITCH + 1 : 8]
    if len(switches) < _SWITCHES or around != [0, 0, 0, 0, 0, 1, 1] or switches[_DISABLE_TCP_SWITCH] not in (0, 1):
        raise _differs("pjsip_cfg_t", "disable_tcp_switch is not where it should be")
    settings[_DISABLE_TCP_SWITCH] = 1


# -- pjmedia_transport -------------------------------------------------------------------------------------------------


def check_media_layout() -> None:
    """Have PJMEDIA make a UDP transport, and close it with the function that ``engine.pjsip.rtp_sockets`` uses. Raises
    ``SipError`` when its fields are not at the expected places."""
    pair = RtpPorts("127.0.0.1", 0, 0).pair()
    try:
        transport = pair.attached()
        head = MediaTransport.from_address(transport)
        table = ctypes.cast(head.op, ctypes.c_void_p).value
        if head.type != MEDIA_UDP or not _readable(table, 8 * MEDIA_OPERATIONS):
            raise _differs("pjmedia_transport", f"type is {head.type}, op is not a table")
        if not all(_is_function(pointer) for pointer in head.op[:MEDIA_OPERATIONS]):
            raise _differs("pjmedia_transport", "op is not a table of functions")
        handles = _open_files()
        if destroy_media_transport(transport) != 0 or _open_files() != handles - 2:
            raise _differs("pjmedia_transport", "destroy did not close its sockets")
        _check_srtp(pair)
    finally:
        pair.close()


def _check_srtp(pair: RtpPair) -> None:
    """Put sockets below an SRTP transport, as for a call."""
    made = ctypes.c_void_p()
    endpoint = ctypes.c_void_p(pjlib.pjsua_get_pjmedia_endpt())
    status = pjlib.pjmedia_transport_srtp_create(endpoint, pair.attached(), None, ctypes.addressof(made))
    if status != 0 or not made.value:
        raise SipError(f"PJMEDIA made no SRTP transport to check its layout (status {status}).")
    pair.carry(made.value)
    below: int = pjlib.pjmedia_transport_srtp_get_member(made)
    handles = _open_files()
    destroy_media_transport(made.value)
    if _open_files() == handles:  # without settings it leaves the transport below it
        destroy_media_transport(below)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
