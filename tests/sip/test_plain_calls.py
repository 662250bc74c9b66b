"""Plain calls from request to record, with SIPp, baresip and Kamailio as trunk and callee."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from engine.errors import CallerNotAllowed, TrunkUnavailable
from engine.outcome import Cause, Party
from engine.records import Status
from tests.sip.messages import SipMessage
from tests.sip.peers import PASSWORD, USERNAME, Baresip, Kamailio, SippUac, SippUas, tone
from tests.sip.process import free_port, listens, wait_until
from tests.sip.rtp import RtpTap
from tests.sip.trunkline import FROM, TO, assert_outcome, trunkline

pytestmark = pytest.mark.sip

CANCELLED = ["> CANCEL", "< 200 CANCEL", "< 487 INVITE", "> ACK"]
"""How an attempt that is given up ends at the far end."""


class BaresipOf(Baresip):
    """baresip whose packets, and the answer's ``a=ptime``, are so many milliseconds long."""

    def __init__(self, ptime_ms: int) -> None:
        super().__init__()
        self._ptime_ms = ptime_ms

    def _prepare(self) -> Sequence[str]:
        command = super()._prepare()
        accounts = self.directory / "accounts"
        accounts.write_text(f"{accounts.read_text().rstrip()};ptime={self._ptime_ms}\n")
        return command


class SlowRegistrar(SippUas):
    """``registrar-200`` that grants seconds, and takes its time: a REGISTER it has received is not answered yet."""

    def __init__(self) -> None:
        super().__init__("registrar-200")

    def _command(self) -> list[str]:
        command = super()._command()
        path = self.directory / "scenario.xml"
        scenario = path.read_text(encoding="latin-1").replace("[last_Expires:]", "Expires: 3")
        received = '<recv request="REGISTER"/>'
        path.write_text(scenario.replace(received, f'{received}<pause milliseconds="300"/>'), encoding="latin-1")
        return command


class SippUasOverTcp(SippUas):
    """SIPp that listens on TCP, and on nothing else."""

    @property
    def uri(self) -> str:
        return f"{super().uri};transport=tcp"

    def _command(self) -> list[str]:
        return [*super()._command(), "-t", "t1"]

    def _ready(self) -> bool:
        return listens(self.port, protocol="tcp")


def offered_codecs(invite: SipMessage) -> list[str]:
    """The encoding names of the offer in their order, telephone-event apart."""
    sdp = invite.sdp
    return [sdp.codecs[payload_type] for payload_type in sdp.payload_types if payload_type < 96]


async def test_the_callees_bye_completes_the_call_and_every_message_is_answered(tmp_path: Path) -> None:
    async with SippUas("uas-answers-then-byes", hold_ms=300) as callee, trunkline(tmp_path, callee.uri) as line:
        record = await line.call()
        assert_outcome(record, Status.COMPLETED, Cause.CALLEE_HANGUP)
        assert record.outcome and record.outcome.by is Party.CALLEE
        await wait_until(lambda: "> 200 BYE" in callee.dialog(record.sip_call_id), "the answer to BYE")
        assert callee.complaints == []
        [invite] = callee.requests("INVITE")
        assert invite.call_id == record.sip_call_id
        assert invite.uri == f"sip:{TO}@127.0.0.1:{callee.port}"
        assert f"<sip:{FROM}@127.0.0.1>" in (invite.header("From") or "")
        assert invite.header("P-Asserted-Identity") == f"<sip:{FROM}@127.0.0.1>"
        assert invite.header("To") == f"<sip:{TO}@127.0.0.1>"


async def test_numbers_and_caller_are_written_as_the_trunk_wishes(tmp_path: Path) -> None:
    wishes = {
        "number_format": "e164",
        "strip_prefix": "+1",
        "prefix": "7#",
        "user_phone": True,
        "from_domain": "you.example",
        "display_name": 'Maple "Clinic"',
        "identity": "p-preferred-identity",
        "privacy": True,
        "headers": {"X-Account": "7; a=b"},
    }
    async with SippUas("uas-busy-486") as callee, trunkline(tmp_path, callee.uri, trunk=wishes) as line:
        assert_outcome(await line.call(), Status.FAILED, Cause.BUSY, sip_code=486)
        [invite] = callee.requests("INVITE")
    dialled, caller = TO.replace("+1", "7%23"), f"<sip:{FROM[1:]}@you.example;user=phone>"
    assert invite.uri == f"sip:{dialled}@127.0.0.1:{callee.port};user=phone"
    assert invite.header("To") == f"<sip:{dialled}@127.0.0.1;user=phone>"
    assert (invite.header("From") or "").startswith('"Anonymous" <sip:anonymous@anonymous.invalid>')
    assert invite.header("P-Preferred-Identity") == rf'"Maple \"Clinic\"" {caller}'
    assert (invite.header("Privacy"), invite.header("X-Account")) == ("id", "7; a=b")
    assert invite.all("P-Asserted-Identity") == invite.all("Diversion") == []


async def test_a_number_that_no_trunk_lets_call_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with SippUas("uas-busy-486") as callee, trunkline(tmp_path, callee.uri, trunk={"callers": ("+49*",)}) as line:
        with pytest.raises(CallerNotAllowed, match=r"allows calls from: \+49\*"):
            await line.place()
        assert callee.messages == []


async def test_delete_after_the_answer_sends_bye(tmp_path: Path) -> None:
    async with SippUas("uas-answers-and-echoes-rtp") as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
        await callee.wait_for("BYE")
        assert callee.complaints == []


@pytest.mark.parametrize(
    ("scenario", "by", "cause", "sip", "q850", "sentence"),
    [
        ("uas-busy-486", Party.CALLEE, Cause.BUSY, "486 Busy Here", None, "The callee is busy."),
        ("uas-busy-486-with-reason", Party.CALLEE, Cause.BUSY, "486 Busy Here", 17, "The callee is busy."),
        ("uas-declines-603", Party.CALLEE, Cause.REJECTED, "603 Decline", None, "The callee declined the call."),
        (
            "uas-not-found-404",
            Party.TRUNK,
            Cause.INVALID_NUMBER,
            "404 Not Found",
            None,
            "The trunk knows no such number.",
        ),
        (
            "uas-unavailable-503",
            Party.TRUNK,
            Cause.TRUNK_UNAVAILABLE,
            "503 Service Unavailable",
            None,
            "The trunk cannot take calls now.",
        ),
    ],
)
async def test_a_refusal_is_acknowledged_and_kept_with_its_sip_status_and_a_sentence(
    tmp_path: Path, scenario: str, by: Party, cause: Cause, sip: str, q850: int | None, sentence: str
) -> None:
    async with SippUas(scenario) as callee, trunkline(tmp_path, callee.uri) as line:
        record = await line.call()
        assert_outcome(record, Status.FAILED, cause, sip_code=int(sip[:3]))
        assert record.outcome
        assert (record.outcome.by, record.outcome.q850, record.outcome.detail) == (by, q850, sentence)
        assert record.outcome.sip_reason == sip[4:]
        assert len(await callee.wait_for("ACK")) == 1
        assert callee.complaints == []


async def test_a_phone_that_nobody_answers_is_cancelled_at_the_ring_time_out(tmp_path: Path) -> None:
    async with (
        SippUas("uas-rings-forever") as callee,
        trunkline(tmp_path, callee.uri, ring_timeout="1s") as line,
    ):
        call = await line.place()
        await line.status(call, Status.RINGING)
        assert_outcome(await line.ended(call), Status.FAILED, Cause.NO_ANSWER)
        await callee.wait_for("ACK")
        assert callee.dialog(call.sip_call_id)[-4:] == CANCELLED
        assert callee.complaints == []


async def test_delete_while_ringing_cancels(tmp_path: Path) -> None:
    async with SippUas("uas-rings-forever") as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await line.status(call, Status.RINGING)
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.FAILED, Cause.CANCELED)
        await callee.wait_for("ACK")
        assert callee.dialog(call.sip_call_id)[-4:] == CANCELLED
        assert callee.complaints == []


async def test_an_answer_that_crosses_our_cancel_is_acknowledged_and_hung_up(tmp_path: Path) -> None:
    async with SippUas("uas-answers-despite-cancel") as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await line.status(call, Status.RINGING)
        await line.hang_up(call)
        record = await line.ended(call)
        assert_outcome(record, Status.FAILED, Cause.CANCELED)
        assert record.answered_at is None, "nobody here took the answer"
        await wait_until(lambda: "< 200 BYE" in callee.dialog(call.sip_call_id), "the answer to BYE")
        assert callee.dialog(call.sip_call_id)[-4:] == ["< 200 INVITE", "> ACK", "> BYE", "< 200 BYE"]
        assert callee.complaints == []


@pytest.mark.parametrize(
    ("scenario", "live", "request_", "final"),
    [
        ("uas-rings-forever", Status.RINGING, "CANCEL", Status.FAILED),
        ("uas-answers-and-echoes-rtp", Status.ANSWERED, "BYE", Status.COMPLETED),
    ],
)
async def test_a_call_that_is_live_when_the_engine_shuts_down_is_hung_up_first(
    tmp_path: Path, scenario: str, live: Status, request_: str, final: Status
) -> None:
    async with SippUas(scenario) as callee:
        async with trunkline(tmp_path, callee.uri) as line:
            call = await line.place()
            await line.status(call, live)
            ending = asyncio.create_task(line.ended(call))
        assert_outcome(await ending, final, Cause.ENGINE_SHUTDOWN)
        assert len(await callee.wait_for(request_)) == 1
        assert callee.complaints == []


async def test_early_media_is_not_an_answer(tmp_path: Path) -> None:
    async with SippUas("uas-183-then-200") as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        ringing = await line.status(call, Status.RINGING)
        assert ringing.answered_at is None
        answered = await line.status(call, Status.ANSWERED)
        assert answered.answered_at and answered.ringing_at
        assert (answered.answered_at - answered.ringing_at).total_seconds() > 1, (
            "the scenario answers 2 s after its 183"
        )
        await line.hang_up(call)
        await line.ended(call)


async def test_a_200_without_any_ringing_is_an_answer(tmp_path: Path) -> None:
    async with SippUas("uas-answers-at-once") as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        answered = await line.status(call, Status.ANSWERED)
        assert answered.ringing_at is None
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)


@pytest.mark.parametrize("scenario", ["uas-challenges-407", "uas-challenges-401"])
async def test_a_challenge_is_answered_with_digest(tmp_path: Path, scenario: str) -> None:
    async with SippUas(scenario) as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        await line.hang_up(call)
        await line.ended(call)
        first, second = callee.requests("INVITE")
        assert not first.answers_challenge(USERNAME, PASSWORD)
        assert second.answers_challenge(USERNAME, PASSWORD)
        assert second.call_id == first.call_id


async def test_a_wrong_password_fails_the_call_and_says_where_to_look(tmp_path: Path) -> None:
    async with (
        SippUas("uas-challenges-401") as callee,
        trunkline(tmp_path, callee.uri, password="wrong") as line,
    ):
        record = await line.call()
        # The far end says 403: it may mean the credentials or the call, so the hint names both.
        assert_outcome(record, Status.FAILED, Cause.REJECTED, sip_code=403)
        assert record.outcome and "password" in record.outcome.hint


async def test_a_trunk_that_challenges_again_and_again_fails_the_call_as_a_matter_of_credentials(
    tmp_path: Path,
) -> None:
    async with Kamailio() as proxy, trunkline(tmp_path, proxy.uri, password="wrong") as line:
        record = await line.call()
        assert_outcome(record, Status.FAILED, Cause.AUTH_FAILED, sip_code=407)
        assert record.outcome and "password" in record.outcome.hint


async def test_a_trunk_that_says_nothing_is_a_time_out_of_the_trunk(tmp_path: Path) -> None:
    async with (
        SippUas("uas-ignores-everything") as callee,
        trunkline(tmp_path, callee.uri, ring_timeout="1s") as line,
    ):
        record = await line.call()
        assert_outcome(record, Status.FAILED, Cause.TRUNK_TIMEOUT)
        # RFC 3261 §17.1.1.2: sent again at T1; §9.1: no CANCEL before a provisional response.
        await callee.wait_for("INVITE", count=2)
        assert set(callee.dialog(record.sip_call_id)) == {"> INVITE"}


@pytest.mark.parametrize(("transport", "cause"), [("udp", Cause.TRUNK_TIMEOUT), ("tcp", Cause.TRUNK_UNAVAILABLE)])
async def test_a_trunk_where_nobody_listens_fails_the_call_and_takes_the_next(
    tmp_path: Path, transport: str, cause: Cause
) -> None:
    nobody = f"sip:127.0.0.1:{free_port(streams=True)};transport={transport}"
    async with trunkline(tmp_path, nobody, ring_timeout="1s") as line:
        for _ in range(2):
            record = await line.call()
            assert_outcome(record, Status.FAILED, cause)
            assert record.outcome and record.outcome.by is Party.TRUNK and record.outcome.retryable


async def test_a_trunk_over_tcp_is_called_and_hung_up(tmp_path: Path) -> None:
    async with SippUasOverTcp("uas-answers-and-echoes-rtp") as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
        await callee.wait_for("BYE")
        [invite] = callee.requests("INVITE")
        assert "/TCP " in (invite.header("Via") or "")
        assert (invite.header("Contact") or "").endswith(";transport=tcp>")  # RFC 3261 §19.1.1: else it is UDP
        assert callee.complaints == []


@pytest.mark.parametrize(
    "place", ["sip:far.example;transport=ws", "sip:far.example;transport=udp;transport=ws", "tel:+15550100"]
)
async def test_a_contact_that_we_cannot_reach_leaves_the_dialog_with_the_trunk(place: str, tmp_path: Path) -> None:
    class Elsewhere(SippUas):
        def _command(self) -> list[str]:
            command = super()._command()
            path = self.directory / "scenario.xml"
            scenario = path.read_text(encoding="latin-1")
            contact = "<sip:[local_ip]:[local_port];transport=[transport]>"
            path.write_text(scenario.replace(contact, f"<{place}>"), encoding="latin-1")
            return command

    async with Elsewhere("uas-answers-then-byes", hold_ms=100) as callee, trunkline(tmp_path, callee.uri) as line:
        assert_outcome(await line.call(), Status.COMPLETED, Cause.CALLEE_HANGUP)
        [invite] = callee.requests("INVITE")
        assert callee.requests("ACK")[0].uri == (place if place.startswith("sip:") else invite.uri)
        assert callee.complaints == []


async def test_the_offer_follows_the_trunks_order_of_codecs(tmp_path: Path) -> None:
    async with (
        SippUas("uas-answers-pcma-only") as callee,
        trunkline(tmp_path, callee.uri, codecs=("G722", "PCMA", "PCMU")) as line,
    ):
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        await line.hang_up(call)
        await line.ended(call)
        [invite] = callee.requests("INVITE")
        assert offered_codecs(invite) == ["G722", "PCMA", "PCMU"]
        assert set(invite.sdp.codecs.values()) == {"G722", "PCMA", "PCMU", "telephone-event"}


@pytest.mark.parametrize(("scenario", "payload_type"), [("uas-answers-pcma-only", 8), ("uas-answers-g722-only", 9)])
async def test_the_codec_of_the_answer_is_what_is_sent(tmp_path: Path, scenario: str, payload_type: int) -> None:
    with RtpTap() as tap:
        async with SippUas(scenario, rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            await tap.wait_for_packets(10)
            await line.hang_up(call)
            await line.ended(call)
            assert {packet.payload_type for packet in tap.packets()} == {payload_type}


async def test_a_codec_that_the_trunk_does_not_list_is_not_offered(tmp_path: Path) -> None:
    async with (
        SippUas("uas-answers-at-once") as callee,
        trunkline(tmp_path, callee.uri, codecs=("PCMU",)) as line,
    ):
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        await line.hang_up(call)
        await line.ended(call)
        [invite] = callee.requests("INVITE")
        assert offered_codecs(invite) == ["PCMU"]


async def test_an_answered_plain_call_sends_silence_every_20_ms_until_its_end(tmp_path: Path) -> None:
    with RtpTap() as tap:
        async with SippUas("uas-answers-and-echoes-rtp", rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            await tap.wait_for_packets(100)
            await line.hang_up(call)
            record = await line.ended(call)
            assert record.media
            await tap.wait_for_packets(record.media["rtp_sent"])
            await asyncio.sleep(0.1)
            packets = tap.packets()
            assert record.media["rtp_sent"] == len(packets), "no RTP after BYE, none lost before"
            assert {(packet.payload_type, packet.payload) for packet in packets} == {(0, b"\xff" * 160)}
            steps = [
                ((after.sequence - before.sequence) % 2**16, (after.timestamp - before.timestamp) % 2**32)
                for before, after in pairwise(packets)
            ]
            assert set(steps) == {(1, 160)}
            assert float(tap.spacing_ms().mean()) == pytest.approx(20, abs=2)


async def test_a_callee_whose_rtp_starts_late_is_received_and_hears_no_break(tmp_path: Path) -> None:
    with RtpTap() as tap:
        async with SippUas("uas-answers-and-echoes-rtp", rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            call = await line.place()
            await tap.wait_for_packets(50)
            tap.play(tone(1000))
            await tap.wait_for_packets(100)
            await line.status(call, Status.ANSWERED)
            await line.hang_up(call)
            record = await line.ended(call)
            assert record.media and record.media["rtp_received"] > 25
            assert {(after.timestamp - before.timestamp) % 2**32 for before, after in pairwise(tap.packets())} == {160}


@pytest.mark.parametrize("ptime_ms", [10, 30, 40])
async def test_a_callee_with_packets_of_another_length_is_sent_the_same_and_hears_no_break(
    tmp_path: Path, ptime_ms: int
) -> None:
    async with BaresipOf(ptime_ms) as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        await wait_until(lambda: len(callee.heard()) > 24_000, "a second and a half of recording")
        await line.hang_up(call)
        record = await line.ended(call)
        assert record.media and record.media["rtp_lost"] == 0
        assert record.answered_at and record.ended_at
        lasted_ms = (record.ended_at - record.answered_at).total_seconds() * 1000
        assert record.media["rtp_sent"] * ptime_ms == pytest.approx(lasted_ms, rel=0.4)
        assert set(callee.heard()) == {0, 2}, "silence: baresip decodes the byte 0xFF as 2, whoever sends it"


async def test_more_calls_than_one_worker_holds_use_several_and_all_end_well(tmp_path: Path) -> None:
    async with (
        SippUas("uas-answers-then-byes", hold_ms=1000) as callee,
        trunkline(tmp_path, callee.uri, max_calls=12) as line,
    ):
        records = await asyncio.gather(*(line.call() for _ in range(12)))
        assert {record.outcome.cause for record in records if record.outcome} == {Cause.CALLEE_HANGUP}
        assert len(callee.requests("INVITE")) == 12
        assert callee.complaints == []


async def test_max_duration_ends_a_plain_call_with_bye(tmp_path: Path) -> None:
    async with SippUas("uas-answers-and-echoes-rtp") as callee, trunkline(tmp_path, callee.uri) as line:
        record = await line.call(max_duration_s=1)
        assert_outcome(record, Status.COMPLETED, Cause.MAX_DURATION)
        await callee.wait_for("BYE")


async def test_another_make_of_callee_is_called_and_its_hang_up_noticed(tmp_path: Path) -> None:
    async with Baresip() as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        await wait_until(lambda: bool(callee.heard()), "our RTP there")
        callee.hang_up()
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLEE_HANGUP)


async def test_a_trunk_is_registered_with_digest_before_it_takes_calls_and_unregistered_at_the_end(
    tmp_path: Path,
) -> None:
    async with SippUas("registrar-challenges-401") as registrar:
        async with trunkline(tmp_path, registrar.uri, registrar=registrar.uri, until_ready=False) as line:
            before = line.engine.readiness()
            assert (before.ready, before.checks["trunk tests"]) == (False, "registering")
            await wait_until(lambda: line.engine.readiness().ready, "the registration")
            assert line.engine.readiness().checks["trunk tests"] == "up, registered"
            first, second = registrar.requests("REGISTER")[:2]
            assert not first.answers_challenge(USERNAME, PASSWORD)
            assert second.answers_challenge(USERNAME, PASSWORD)
        last = registrar.requests("REGISTER")[-1]
        assert last.header("Expires") == "0" or "expires=0" in (last.header("Contact") or "")


async def test_a_registration_is_refreshed_before_it_expires_and_removed_even_while_a_refresh_is_under_way(
    tmp_path: Path,
) -> None:
    async with SlowRegistrar() as registrar:
        async with trunkline(tmp_path, registrar.uri, registrar=registrar.uri):
            _, refresh = await registrar.wait_for("REGISTER", count=2)
        assert refresh.header("Expires") == "300"
        assert registrar.requests("REGISTER")[-1].header("Expires") == "0"
        assert len({request.header("CSeq") for request in registrar.requests("REGISTER")}) == 3


async def test_calls_are_refused_while_the_trunk_is_not_registered(tmp_path: Path) -> None:
    nobody = f"sip:127.0.0.1:{free_port()}"
    async with trunkline(tmp_path, nobody, registrar=nobody, until_ready=False) as line:
        with pytest.raises(TrunkUnavailable, match="tests: "):
            await line.place()
        assert not line.engine.readiness().ready


async def test_kamailio_registers_the_trunk_and_routes_its_calls(tmp_path: Path) -> None:
    async with SippUas("uas-answers-then-byes", hold_ms=300) as callee, Kamailio(gateway=callee.uri) as proxy:
        async with trunkline(
            tmp_path, proxy.uri, registrar=proxy.uri, outbound_proxy=[proxy.uri], until_ready=False
        ) as line:
            await wait_until(lambda: line.engine.readiness().ready, "the registration")
            assert proxy.registered()
            assert_outcome(await line.call(), Status.COMPLETED, Cause.CALLEE_HANGUP)
            [invite] = callee.requests("INVITE")
            assert invite.all("Record-Route")
        assert not proxy.registered()


async def test_a_call_that_comes_in_is_refused_and_the_next_one_goes_out(tmp_path: Path) -> None:
    async with SippUas("uas-answers-then-byes", hold_ms=300) as callee, trunkline(tmp_path, callee.uri) as line:
        assert_outcome(await line.call(), Status.COMPLETED, Cause.CALLEE_HANGUP)
        contact = (callee.requests("INVITE")[0].header("Contact") or "").strip("<>")
        async with SippUac("uac-calls", f"sip:{contact.rpartition('@')[2]}", calls=6) as stranger:
            await wait_until(lambda: len(stranger.statuses()) >= 6, "six answers")
            assert set(stranger.statuses()) == {403}
        assert_outcome(await line.call(), Status.COMPLETED, Cause.CALLEE_HANGUP)
