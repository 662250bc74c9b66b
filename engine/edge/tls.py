"""TLS to a trunk by Python's ``ssl``: the system's OpenSSL, TLS 1.2 and 1.3 (RFC 5922, RFC 8996)."""

from __future__ import annotations

import functools
import ssl
from typing import Any, Final

import certifi

from engine.edge.common import Unreached
from engine.messages.commands import TlsSettings

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_AUTHORITY: Final = (2, 18, 19, 20, 21)
"""OpenSSL's X509_V_ERR_…: no authority that we trust signed it."""
_TIME: Final = (9, 10)
_NAME: Final = (62, 63, 64)


@functools.cache
def context_for(tls: TlsSettings) -> ssl.SSLContext:
    """The client context of a trunk. Raises ``Unreached`` when one of its files cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if not tls.ca_file and not context.cert_store_stats()["x509_ca"]:
            context.load_verify_locations(certifi.where())
        context.minimum_version = _VERSIONS[tls.min_version]
        if tls.ciphers:
            context.set_ciphers(tls.ciphers)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.private_key)
    except (OSError, ssl.SSLError) as error:
        raise Unreached("tls", f"TLS cannot start: {error}.", "Check tls of the trunk in the configuration.") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def refusal_of(error: ssl.SSLError) -> Unreached:
    """Why a handshake failed, in words."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return Unreached("tls", f"The trunk and we agree on no TLS: {reason}.", "Ask the carrier for TLS 1.2 or 1.3.")
    code = error.verify_code
    if code in _NAME:
        what, hint = "it is for another name", "The host in uri, registrar or outbound_proxy must be in it."
    elif code in _TIME:
        what = "it has expired or is not valid yet"
        hint = "The carrier must renew it, or the clock of this machine is wrong."
    elif code in _AUTHORITY:
        what, hint = "no authority that we trust has signed it", "Check tls.ca_file of the trunk in the configuration."
    else:
        what, hint = error.verify_message.lower(), "Ask the carrier."
    return Unreached("certificate", what, hint)


def wrong_name(certificate: dict[str, Any], host: str, tls: TlsSettings) -> Unreached | None:
    """A refusal when only a wildcard covers the host and the trunk takes none (RFC 5922 §7.2)."""
    if not tls.verify or tls.wildcard:
        return None
    names = [value.lower() for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    if host.lower() in names or not any(name.startswith("*.") for name in names):
        return None
    return Unreached("certificate", "it is for another name", "It has a wildcard, and tls.wildcard is false.")
