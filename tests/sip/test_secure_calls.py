"""Calls over TLS and SRTP: who is believed to be the trunk, what can be read on the way, and what is then not sent."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.outcome import Cause, Party
from engine.records import Status
from tests.sip.ai_rig import ai_rig
from tests.sip.certificates import Authority, Certificate
from tests.sip.peers import PASSWORD, USERNAME, SecureBaresip, SippUas
from tests.sip.process import listens
from tests.sip.rtp import RtpTap
from tests.sip.tcp_tap import TcpTap
from tests.sip.test_ai_audio import CALLEE_HZ, exchange_tones
from tests.sip.trunkline import TO, assert_outcome, trunkline

pytestmark = pytest.mark.sip

HOST = "localhost"
"""A name of the hosts file: PJSIP's resolver would not know it, and the certificate must still name it."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Certificate:
    return authority.sign(HOST)


class SippUasOverTcp(SippUas):
    """SIPp that listens on TCP, and on nothing else."""

    def _command(self) -> list[str]:
        return [*super()._command(), "-t", "t1"]

    def _ready(self) -> bool:
        return listens(self.port, protocol="tcp")


def as_server(certificate: Certificate, clients: Authority | None = None) -> ssl.SSLContext:
    """A TLS server's side; with ``clients`` it demands a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.certificate.path)
    return context


def trusting(authority: Authority, **tls: Any) -> dict[str, Any]:
    return {"ca_file": str(authority.certificate.path), **tls}


async def test_a_tls_and_srtp_call_is_heard_both_ways_and_read_by_nobody(
    authority: Authority, server: Certificate
) -> None:
    settings = {"tls": trusting(authority), "srtp": "required"}
    async with SecureBaresip(server, tone_hz=CALLEE_HZ) as callee, TcpTap(callee.tls_port) as tap:
        uri = f"sip:{HOST}:{tap.port};transport=tls"
        async with ai_rig(uri, codecs=("PCMU",), trunk=settings) as rig:
            await exchange_tones(rig, (callee, 8000))
    assert len(tap.passed) > 3000
    for readable in (b"INVITE", b"sip:", b"a=crypto", b"inline:", b"m=audio", b"5551234567"):
        assert readable not in tap.passed


async def test_a_dialog_stays_on_tls_when_the_trunks_contact_would_leave_it(
    tmp_path: Path, authority: Authority, server: Certificate
) -> None:
    async with (
        SippUasOverTcp("uas-answers-then-byes", hold_ms=100) as callee,
        TcpTap(callee.port, as_server(server)) as tap,
        trunkline(tmp_path, f"sip:{HOST}:{tap.port};transport=tls", trunk={"tls": trusting(authority)}) as line,
    ):
        assert_outcome(await line.call(), Status.COMPLETED, Cause.CALLEE_HANGUP)
        [ack] = callee.requests("ACK")
        assert ack.uri == f"sip:127.0.0.1:{callee.port};transport=TCP"
        assert ack.header("Route") == f"<sip:{HOST}:{tap.port};transport=tls;lr>"
        assert callee.complaints == []
        assert bytes(tap.passed).count(b"ACK sip:") == 1


async def test_a_registration_over_tls_is_challenged_renewed_and_removed_on_one_connection(
    tmp_path: Path, authority: Authority, server: Certificate
) -> None:
    async with (
        SippUasOverTcp("registrar-challenges-401") as registrar,
        TcpTap(registrar.port, as_server(server)) as tap,
    ):
        uri = f"sip:{HOST}:{tap.port};transport=tls"
        settings = {"tls": trusting(authority), "register_expires": "2s"}
        async with trunkline(tmp_path, uri, registrar=uri, trunk=settings):
            await registrar.wait_for("REGISTER", count=3)
        sent = registrar.requests("REGISTER")
        assert [one.answers_challenge(USERNAME, PASSWORD) for one in sent[:2]] == [False, True]
        assert all(";transport=tls" in (one.header("Contact") or "") for one in sent)
        assert sent[-1].header("Expires") == "0"
        assert tap.connections == 1
        assert registrar.complaints == []


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_calls_go_through_an_outbound_proxy_on_a_connection(
    tmp_path: Path, authority: Authority, server: Certificate, transport: str
) -> None:
    async with (
        SippUasOverTcp("uas-answers-then-byes", hold_ms=100) as proxy,
        TcpTap(proxy.port, as_server(server) if transport == "tls" else None) as tap,
    ):
        route = f"sip:{HOST}:{tap.port};transport={transport}"
        tls = {"tls": trusting(authority)}
        async with trunkline(tmp_path, "sip:carrier.example", outbound_proxy=[route], trunk=tls) as line:
            assert_outcome(await line.call(), Status.COMPLETED, Cause.CALLEE_HANGUP)
        [invite] = proxy.requests("INVITE")
        assert invite.uri == f"sip:{TO}@carrier.example"
        assert invite.header("Route") == f"<{route};lr>"
        assert f";transport={transport}" in (invite.header("Contact") or "")
        assert tap.connections == 1
        assert proxy.complaints == []


@pytest.mark.parametrize(
    ("certificate", "trusted", "sentence", "setting"),
    [
        (lambda ours: ours.sign("other.example"), True, "it is for another name", "uri"),
        (lambda ours: ours.sign(HOST, days=-1), True, "it has expired or is not valid yet", "clock"),
        (lambda ours: ours.sign(HOST), False, "no authority that we trust has signed it", "tls.ca_file"),
    ],
    ids=["wrong name", "expired", "unknown authority"],
)
async def test_a_trunk_with_a_bad_certificate_is_sent_nothing_and_the_call_says_why(
    tmp_path: Path,
    authority: Authority,
    certificate: Callable[[Authority], Certificate],
    trusted: bool,
    sentence: str,
    setting: str,
) -> None:
    trust = authority if trusted else Authority.create(tmp_path / "theirs")
    async with (
        SippUasOverTcp("uas-answers-at-once") as callee,
        TcpTap(callee.port, as_server(certificate(authority))) as tap,
        trunkline(tmp_path, f"sip:{HOST}:{tap.port};transport=tls", trunk={"tls": trusting(trust)}) as line,
    ):
        record = await line.call()
        assert_outcome(record, Status.FAILED, Cause.TRUNK_UNAVAILABLE)
        assert record.outcome and record.outcome.by is Party.TRUNK
        assert "certificate verification failed" in record.outcome.detail
        assert sentence in record.outcome.detail
        assert setting in record.outcome.hint
        assert not tap.passed
        assert callee.messages == []


async def test_an_unverified_trunk_is_called_when_the_configuration_says_so(
    tmp_path: Path, authority: Authority
) -> None:
    async with (
        SippUasOverTcp("uas-answers-then-byes", hold_ms=100) as callee,
        TcpTap(callee.port, as_server(authority.sign("other.example"))) as tap,
        trunkline(tmp_path, f"sip:{HOST}:{tap.port};transport=tls", trunk={"tls": {"verify": False}}) as line,
    ):
        assert_outcome(await line.call(), Status.COMPLETED, Cause.CALLEE_HANGUP)


async def test_a_trunk_that_demands_our_certificate_is_given_it(
    tmp_path: Path, authority: Authority, server: Certificate
) -> None:
    ours = authority.sign("trunkline.example")
    tls = trusting(authority, certificate=str(ours.path), private_key=str(ours.key))
    async with (
        SippUasOverTcp("uas-answers-then-byes", hold_ms=100) as callee,
        TcpTap(callee.port, as_server(server, clients=authority)) as tap,
    ):
        uri = f"sip:{HOST}:{tap.port};transport=tls"
        async with trunkline(tmp_path, uri, trunk={"tls": tls}) as line:
            assert_outcome(await line.call(), Status.COMPLETED, Cause.CALLEE_HANGUP)
        [invite] = callee.requests("INVITE")
        assert ";transport=tls>" in (invite.header("Contact") or "")
        assert tap.client_names == ["trunkline.example"]
        async with trunkline(tmp_path, uri, trunk={"tls": trusting(authority)}) as line:
            assert_outcome(await line.call(), Status.FAILED, Cause.TRUNK_UNAVAILABLE)
        assert len(callee.requests("INVITE")) == 1


async def test_required_srtp_is_offered_as_savp_and_what_is_sent_is_noise_to_others(tmp_path: Path) -> None:
    settings = {"srtp": "required", "srtp_without_tls": True}
    with RtpTap() as tap:
        async with (
            SippUas("uas-answers-with-srtp", rtp=tap) as callee,
            trunkline(tmp_path, callee.uri, codecs=("PCMU",), trunk=settings) as line,
        ):
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            packets = await tap.wait_for_packets(50)
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
            [invite] = callee.requests("INVITE")
    assert "RTP/SAVP " in invite.body
    assert "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" in invite.body
    sound = b"".join(packet.payload for packet in packets)
    assert len(sound) == 50 * (160 + 10)  # RFC 3711 §4.2: an authentication tag of 80 bits
    shares = np.array(list(Counter(sound).values())) / len(sound)
    assert -float(np.sum(shares * np.log2(shares))) > 7.9  # silence has none: one byte over and over


@pytest.mark.parametrize("scenario", ["uas-answers-and-echoes-rtp", "uas-183-then-200"])
async def test_a_trunk_that_answers_required_srtp_with_plain_rtp_gets_no_packet(tmp_path: Path, scenario: str) -> None:
    settings = {"srtp": "required", "srtp_without_tls": True}
    with RtpTap() as tap:
        async with (
            SippUas(scenario, rtp=tap) as callee,
            trunkline(tmp_path, callee.uri, codecs=("PCMU",), trunk=settings) as line,
        ):
            record = await line.call()
            assert_outcome(record, Status.FAILED, Cause.SRTP_REFUSED)
            assert record.outcome and "srtp" in record.outcome.hint
        assert tap.packets() == []


@pytest.mark.parametrize(("scenario", "tag"), [("uas-answers-and-echoes-rtp", 0), ("uas-answers-optional-srtp", 10)])
async def test_optional_srtp_is_offered_as_avp_and_the_trunk_chooses(tmp_path: Path, scenario: str, tag: int) -> None:
    settings = {"srtp": "optional", "srtp_without_tls": True}

    class Answering(SippUas):
        def _command(self) -> list[str]:
            command = super()._command()
            path = self.directory / "scenario.xml"
            path.write_text(path.read_text(encoding="latin-1").replace("RTP/SAVP", "RTP/AVP"), encoding="latin-1")
            return command

    with RtpTap() as tap:
        async with (
            Answering(scenario.replace("optional", "with"), rtp=tap) as callee,
            trunkline(tmp_path, callee.uri, codecs=("PCMU",), trunk=settings) as line,
        ):
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            packets = await tap.wait_for_packets(10)
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
            [invite] = callee.requests("INVITE")
    assert "RTP/AVP " in invite.body
    assert "a=crypto:" in invite.body
    assert {len(packet.payload) for packet in packets} == {160 + tag}


async def test_rtp_is_marked_expedited_forwarding(tmp_path: Path) -> None:
    with RtpTap() as tap:
        async with SippUas("uas-answers-at-once", rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            call = await line.place()
            await tap.wait_for_packets(5)
            await line.hang_up(call)
            await line.ended(call)
        assert tap.code_points == {46}


async def test_sip_is_marked_class_selector_3(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trunk:
        trunk.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        trunk.bind(("127.0.0.1", 0))
        async with trunkline(tmp_path, f"sip:127.0.0.1:{trunk.getsockname()[1]}") as line:
            call = await line.place()
            invite, control, _, source = await asyncio.to_thread(trunk.recvmsg, 65536, 64)
            head = [*invite.decode().partition("\r\n\r\n")[0].split("\r\n")[1:], "Content-Length: 0", "", ""]
            kept = [line for line in head if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq", "")]
            trunk.sendto("\r\n".join(["SIP/2.0 486 Busy Here", *kept, ""]).encode(), source)
            assert_outcome(await line.ended(call), Status.FAILED, Cause.BUSY, sip_code=486)
        assert control[0][2][0] >> 2 == 24
