"""The far ends keep their promises, shown without Trunkline: SIPp and baresip call them."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from tests.sip.peers import PASSWORD, USERNAME, Baresip, Kamailio, SippUac, SippUas, tone
from tests.sip.process import PeerFailed, listens, wait_until
from tests.sip.rtp import RtpTap

pytestmark = pytest.mark.sip


def frequency_of(pcm: bytes, rate_hz: int = 8000) -> float:
    """The strongest, from the middle half of it."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(np.fft.rfftfreq(len(middle), 1 / rate_hz)[spectrum.argmax()])


@pytest.mark.parametrize(
    ("scenario", "codec"),
    [
        ("uas-answers-and-echoes-rtp", "PCMU"),
        ("uas-answers-at-once", "PCMU"),
        ("uas-answers-pcma-only", "PCMA"),
        ("uas-answers-g722-only", "G722"),
    ],
)
async def test_callee_answers_with_its_codec_and_takes_the_bye(scenario: str, codec: str) -> None:
    async with SippUas(scenario) as callee, SippUac("uac-calls", callee.uri, hold_ms=100) as caller:
        assert await caller.finish(), caller.complaints
        answer = next(m for m in caller.messages if m.status == 200)
        assert list(answer.sdp.codecs.values()) == [codec, "telephone-event"]
        rings = [] if scenario == "uas-answers-at-once" else ["< 100 INVITE", "< 180 INVITE"]
        assert callee.dialog(answer.call_id) == ["> INVITE", *rings, "< 200 INVITE", "> ACK", "> BYE", "< 200 BYE"]
        assert callee.complaints == []


@pytest.mark.parametrize(
    ("scenario", "status", "header"),
    [
        ("uas-busy-486", 486, None),
        ("uas-busy-486-with-reason", 486, ("Reason", 'Q.850;cause=17;text="User busy"')),
        ("uas-declines-603", 603, None),
        ("uas-unavailable-503", 503, ("Retry-After", "30")),
        ("uas-not-found-404", 404, None),
    ],
)
async def test_callee_refuses_with_its_status(scenario: str, status: int, header: tuple[str, str] | None) -> None:
    async with SippUas(scenario) as callee, SippUac("uac-calls", callee.uri) as caller:
        await caller.finish()
        assert caller.statuses() == [status]
        refusal = next(m for m in caller.messages if m.status == status)
        assert refusal.header("Reason") == (header[1] if header and header[0] == "Reason" else None)
        assert header is None or refusal.header(header[0]) == header[1]
        assert "tag=" in (refusal.header("To") or "")
        await callee.wait_for("ACK")


@pytest.mark.parametrize("scenario", ["uas-rings-forever", "uas-183-then-200"])
async def test_cancelled_callee_ends_the_invite_with_487(scenario: str) -> None:
    async with SippUas(scenario) as callee:
        async with SippUac("uac-cancels-while-ringing", callee.uri, hold_ms=100) as caller:
            assert await caller.finish(), caller.complaints
        assert len(await callee.wait_for("ACK")) == 1
        assert callee.complaints == []


async def test_callee_hangs_up_after_the_hold_time() -> None:
    async with SippUas("uas-answers-then-byes", hold_ms=200) as callee:
        async with SippUac("uac-calls", callee.uri, hold_ms=5000) as caller:
            await caller.finish()
        assert callee.dialog(callee.messages[0].call_id)[-3:] == ["> ACK", "< BYE", "> 200 BYE"]
        assert callee.complaints == []


@pytest.mark.parametrize("status", [401, 407])
async def test_challenged_caller_is_answered_for_the_right_password_only(status: int) -> None:
    async with SippUas(f"uas-challenges-{status}") as callee:
        async with SippUac("uac-calls", callee.uri) as caller:
            assert await caller.finish(), caller.complaints
        invites = callee.requests("INVITE")
        assert [invite.answers_challenge(USERNAME, PASSWORD) for invite in invites] == [False, True]
        async with SippUac("uac-calls", callee.uri, password="wrong") as stranger:
            assert await stranger.finish() is (status == 407)  # SIPp's verifyauth knows Authorization alone
        assert not callee.requests("INVITE")[-1].answers_challenge(USERNAME, PASSWORD)


async def test_callee_that_ignores_everything_sends_nothing() -> None:
    async with SippUas("uas-ignores-everything") as callee, SippUac("uac-calls", callee.uri):
        await callee.wait_for("INVITE", count=2)  # the second is the retransmission
        assert all(message.received for message in callee.messages)


@pytest.mark.parametrize("scenario", ["registrar-challenges-401", "registrar-200"])
async def test_registrar_takes_refresh_and_unregistration(scenario: str) -> None:
    async with SippUas(scenario) as registrar:
        scenario_of_caller = "uac-registers" if scenario == "registrar-challenges-401" else "uac-registers-unchallenged"
        async with SippUac(scenario_of_caller, registrar.uri, user=USERNAME) as phone:
            assert await phone.finish(), phone.complaints
            assert [s for s in phone.statuses("REGISTER") if s != 401] == [200, 200, 200]
        assert registrar.requests("REGISTER")[-1].header("Expires") == "0"
        assert registrar.complaints == []


async def test_registrar_keeps_challenging_the_wrong_password() -> None:
    async with SippUas("registrar-challenges-401") as registrar:
        async with SippUac("uac-registers", registrar.uri, user=USERNAME, password="wrong") as stranger:
            assert not await stranger.finish()
        assert stranger.statuses("REGISTER") == [401, 401]
        assert stranger.complaints != []


async def test_echoing_callee_serves_forty_calls_at_once() -> None:
    with RtpTap() as ear:
        ear.play(tone(600))
        async with (
            SippUas("uas-answers-and-echoes-rtp", rtp_echo=True) as callee,
            SippUac("uac-calls", callee.uri, calls=40, rtp=ear, hold_ms=2000) as caller,
        ):
            invite = (await callee.wait_for("INVITE"))[0]
            assert invite.sdp.port == ear.port
            await wait_until(lambda: 200 in caller.statuses(), "an answer")
            ear.play(tone(600), to=("127.0.0.1", next(m for m in caller.messages if m.status == 200).sdp.port))
            await ear.wait_for_packets(75)
            assert frequency_of(ear.heard()) == pytest.approx(600, abs=5)
            assert {packet.payload_type for packet in ear.packets()} == {0}
            assert await caller.finish(), caller.complaints
        assert callee.complaints == []


async def test_playing_callee_sends_its_tone_every_20_ms() -> None:
    with RtpTap() as ear:
        async with (
            SippUas("uas-plays-tone", tone_hz=1000) as callee,
            SippUac("uac-calls", callee.uri, rtp=ear, hold_ms=1200) as caller,
        ):
            assert await caller.finish(), caller.complaints
    assert frequency_of(ear.heard()) == pytest.approx(1000, abs=5)
    assert float(np.median(ear.spacing_ms())) == pytest.approx(20, abs=5)


async def test_early_media_is_the_ringback_and_the_answer_brings_the_tone() -> None:
    with RtpTap() as ear:
        async with (
            SippUas("uas-183-then-200", tone_hz=1000, ringback_hz=425) as callee,
            SippUac("uac-calls", callee.uri, rtp=ear, hold_ms=1500) as caller,
        ):
            await ear.wait_for_packets(50)
            early = ear.heard()
            await wait_until(lambda: 200 in caller.statuses(), "the answer")
            await callee.wait_for("ACK")
            await ear.wait_for_packets(len(ear.packets()) + 10)
            ear.forget()
            await ear.wait_for_packets(50)
            assert frequency_of(early) == pytest.approx(425, abs=5)
            assert frequency_of(ear.heard()) == pytest.approx(1000, abs=5)
            assert await caller.finish(), caller.complaints


async def test_tap_takes_the_place_of_the_callees_media_and_echoes() -> None:
    with RtpTap(echo=True) as callee_ear, RtpTap(law="PCMA") as caller_ear:
        async with (
            SippUas("uas-answers-pcma-only", rtp=callee_ear) as callee,
            SippUac("uac-calls", callee.uri, rtp=caller_ear, hold_ms=1500) as caller,
        ):
            await wait_until(lambda: 200 in caller.statuses(), "the answer")
            sdp = next(m for m in caller.messages if m.status == 200).sdp
            assert (sdp.address, sdp.port) == ("127.0.0.1", callee_ear.port)
            caller_ear.play(tone(800), to=(sdp.address, sdp.port))
            await caller_ear.wait_for_packets(50)
    assert frequency_of(callee_ear.heard()) == pytest.approx(800, abs=5)
    assert frequency_of(caller_ear.heard()) == pytest.approx(800, abs=5)
    assert not caller_ear.packets()[-1].silent
    assert callee_ear.packets()[0].payload_type == 8


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
async def test_baresip_plays_its_tone_and_records_what_it_hears(codec: str) -> None:
    with RtpTap(law="PCMA" if codec == "PCMA" else "PCMU") as ear:
        ear.play(tone(600))
        async with Baresip(tone_hz=1000, codec=codec) as callee:
            async with SippUac("uac-calls", callee.uri, rtp=ear, hold_ms=1500) as caller:
                assert await caller.finish(), caller.complaints
            assert frequency_of(ear.heard()) == pytest.approx(1000, abs=5)
            await wait_until(lambda: len(callee.heard()) > 8000, "half a second of recording")
            assert frequency_of(callee.heard()) == pytest.approx(600, abs=5)


async def test_baresip_hears_itself_through_the_echo_of_g722() -> None:
    async with SippUas("uas-answers-g722-only", rtp_echo=True) as echo, Baresip(codec="G722", tone_hz=3600) as caller:
        caller.dial(echo.uri.replace("sip:", "sip:echo@"))
        await echo.wait_for("ACK")
        await wait_until(lambda: len(caller.heard()) > 48000, "a second and a half of recording")
        caller.hang_up()
        await echo.wait_for("BYE")
        assert frequency_of(caller.heard(), 16000) == pytest.approx(3600, abs=5)


async def test_kamailio_registers_with_digest_and_passes_calls_to_the_gateway() -> None:
    async with SippUas("uas-answers-and-echoes-rtp") as pstn, Kamailio(gateway=pstn.uri) as proxy:
        async with SippUac("uac-registers", proxy.uri, user=USERNAME) as phone:
            assert await phone.finish(), phone.complaints
            assert not proxy.registered()
        async with SippUac("uac-registers", proxy.uri, user=USERNAME, password="wrong") as stranger:
            assert not await stranger.finish()
            assert stranger.statuses("REGISTER") == [401, 401]
        async with SippUac("uac-calls", proxy.uri, hold_ms=100) as caller:
            assert await caller.finish(), caller.complaints
            assert caller.statuses() == [407, 200]
        assert (await pstn.wait_for("BYE"))[0].header("Via")
        assert pstn.requests("INVITE")[0].header("Record-Route")


async def test_stopped_peer_leaves_no_port_and_no_directory() -> None:
    async with SippUas("uas-rings-forever") as peer:
        directory, port = peer.directory, peer.port
        assert listens(port)
        assert directory.exists()
    assert not listens(port)
    assert not directory.exists()


def test_peer_that_does_not_start_shows_what_it_printed() -> None:
    class Misguided(SippUas):
        def _prepare(self) -> list[str]:
            return ["sipp", "-nonsense"]

    with pytest.raises(PeerFailed, match="nonsense"), Misguided("uas-busy-486"):
        pass


@pytest.mark.parametrize("option", ["-p", "-mp"])
def test_peer_takes_another_port_when_it_lost_the_race_for_one(option: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))

        class Unlucky(SippUas):
            attempts = 0

            def _prepare(self) -> list[str]:
                command = list(super()._prepare())
                self.attempts += 1
                if self.attempts == 1:
                    command[command.index(option) + 1] = str(taken.getsockname()[1])
                return command

        with Unlucky("uas-busy-486") as peer:
            assert peer.attempts == 2
            assert listens(peer.port)
            assert peer.complaints == []
