"""One process's SIP transports: UDP, TCP, and a TLS transport for each set of TLS settings of its trunks."""

from __future__ import annotations

import ctypes
import logging
import socket
import struct

import pjsua2 as pj

from engine.errors import SipError
from engine.messages.commands import TlsSettings
from engine.messages.settings import StackSettings
from engine.outcome import Outcome, certificate_refused
from engine.pjsip.library import pjlib
from engine.sip.uri import SipUri

log = logging.getLogger("trunkline.sip")

_MADE_BY_US = (b"tcpc", b"tlsc")
"""The first letters of the name of a connection that we made (``obj_name``, the first field of ``pjsip_transport``)."""
_NOT_VERIFIED = "PJSIP_TLS_ECERTVERIF"
"""Part of PJSIP's reason for a connection whose certificate it refused."""
_REFUSALS = (
    (1 << 30, "it is for another name", "The host in uri, registrar or outbound_proxy must be in it, in full: PJSIP "
     "takes no wildcard (RFC 5922 §7.2)."),
    (1 << 2, "it has expired or is not valid yet", "The carrier must renew it, or the clock of this machine is wrong."),
    (0b11, "no authority that we trust has signed it", "Check tls.ca_file of the trunk in the configuration."),
)  # fmt: skip
"""Bits of ``pj_ssl_cert_verify_flag_t``, what is wrong, and what to do. The first bit that is set counts."""


class SipEndpoint(pj.Endpoint):
    """The endpoint. It keeps connections to trunks open and remembers why it last refused a server's certificate.

    PJSIP closes a connection after 33 s without a transaction, even during a call. Then the far end's BYE cannot reach
    us, above all over TLS, where the far end cannot connect to us.
    """

    def __init__(self) -> None:
        super().__init__()
        self._refused: Outcome | None = None
        self._kept: set[int] = set()

    def onTransportState(self, prm: pj.OnTransportStateParam) -> None:
        try:
            self._keep(int(prm.hnd), prm.state)
            self._note_refusal(prm)
        except Exception:  # an exception here would abort the process
            log.exception("cannot handle a transport's new state")

    def _keep(self, transport: int, state: int) -> None:
        if state == pj.PJSIP_TP_STATE_CONNECTED and ctypes.string_at(transport, 4) in _MADE_BY_US:
            self._kept.add(transport)
            pjlib.pjsip_transport_add_ref(ctypes.c_void_p(transport))
        elif state != pj.PJSIP_TP_STATE_CONNECTED and transport in self._kept:
            self._kept.discard(transport)
            pjlib.pjsip_transport_dec_ref(ctypes.c_void_p(transport))

    def _note_refusal(self, prm: pj.OnTransportStateParam) -> None:
        # PJSIP reports this immediately before the requests that waited for the connection fail.
        if prm.state != pj.PJSIP_TP_STATE_DISCONNECTED or prm.tlsInfo.isEmpty() or not prm.tlsInfo.verifyStatus:
            return
        status = prm.tlsInfo.verifyStatus
        what, hint = next(
            ((what, hint) for bits, what, hint in _REFUSALS if status & bits),
            ("; ".join(prm.tlsInfo.verifyMsgs).lower(), "Ask the carrier."),
        )
        self._refused = certificate_refused(what, hint)

    def refusal(self, reason: str) -> Outcome | None:
        """The outcome when PJSIP's ``reason`` for a failure is a refused certificate; otherwise None."""
        return self._refused if _NOT_VERIFIED in reason else None


class Transports:
    """The transports, each made on first use. UDP and TCP listen on ``sip_port``. TLS listens on any free port, because
    a trunk answers on the connection that we made (RFC 5923)."""

    def __init__(self, endpoint: pj.Endpoint, settings: StackSettings) -> None:
        """Raises ``SipError`` when the SIP port is taken."""
        self._endpoint = endpoint
        self._settings = settings
        try:
            self._udp = self._create(pj.PJSIP_TRANSPORT_UDP, self._config(settings.sip_port))
            self._tcp = self._create(pj.PJSIP_TRANSPORT_TCP, self._config(settings.sip_port))
        except pj.Error as error:
            raise SipError(f"SIP cannot start on {settings.bind}:{settings.sip_port}: {error.reason}") from None
        self._tls: dict[TlsSettings, int] = {}
        address = str(endpoint.transportGetInfo(self._udp).localName)
        self.sip_port = int(address.rpartition(":")[2])
        self.udp_socket = _udp_socket()
        """The file descriptor of the UDP socket, to wait for; only PJSIP reads from it."""

    def bind(self, config: pj.AccountConfig, first_hop: SipUri, tls: TlsSettings) -> None:
        """Have the account reach ``first_hop`` only by the transport that its URI names. Raises ``SipError``."""
        match first_hop.transport:
            case "tcp":
                config.sipConfig.transportId = self._tcp
            case "tls":
                config.sipConfig.transportId = self._over_tls(tls)
            case _:
                return
        # RFC 3261 §18.1.1, §19.1.1: without it a Contact means UDP.
        config.sipConfig.contactUriParams = f";transport={first_hop.transport}"

    def _over_tls(self, tls: TlsSettings) -> int:
        if (known := self._tls.get(tls)) is not None:
            return known
        config = self._config(0)
        config.tlsConfig.CaListFile = tls.ca_file
        config.tlsConfig.certFile = tls.certificate
        config.tlsConfig.privKeyFile = tls.private_key
        config.tlsConfig.verifyServer = tls.verify
        try:
            transport = self._tls[tls] = self._create(pj.PJSIP_TRANSPORT_TLS, config)
        except pj.Error as error:
            raise SipError(f"TLS cannot start: {error.reason}") from None
        return transport

    def _create(self, kind: int, config: pj.TransportConfig) -> int:
        return self._endpoint.transportCreate(kind, config)

    def _config(self, port: int) -> pj.TransportConfig:
        config = pj.TransportConfig()
        config.port = port
        config.boundAddress = self._settings.bind
        config.publicAddress = self._settings.public_address
        mark(config, self._settings.dscp_sip)
        return config


_get_endpoint = pjlib.pjsua_get_pjsip_endpt
_get_endpoint.restype = ctypes.c_void_p
_acquire = pjlib.pjsip_endpt_acquire_transport
_acquire.argtypes = (
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p),
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
)
_release = pjlib.pjsip_transport_dec_ref
_release.argtypes = (ctypes.c_void_p,)
_socket_of = pjlib.pjsip_udp_transport_get_socket
_socket_of.argtypes = (ctypes.c_void_p,)
_socket_of.restype = ctypes.c_long


def _udp_socket() -> int:
    """The UDP socket. PJSIP returns the socket of a transport, and any datagram address finds the transport."""
    address, transport = struct.pack("=H14x", socket.AF_INET), ctypes.c_void_p()
    kind = pj.PJSIP_TRANSPORT_UDP
    if _acquire(_get_endpoint(), kind, address, len(address), None, ctypes.byref(transport)) != 0:
        raise SipError("PJSIP has no UDP transport")
    try:
        return int(_socket_of(transport))
    finally:
        _release(transport)


def mark(config: pj.TransportConfig, dscp: int) -> None:
    """Mark all sent packets with the DiffServ code point (RFC 2474 §3)."""
    config.qosParams.flags = pj.PJ_QOS_PARAM_HAS_DSCP
    config.qosParams.dscp_val = dscp
