"""Calls as carriers make them: provisional responses, forks, redirects, refusals, session timers, re-INVITEs, BYEs."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from engine.outcome import Cause, Party
from engine.records import CallRecord, Status
from tests.sip.peers import SippUas
from tests.sip.process import wait_until
from tests.sip.rtp import RtpTap
from tests.sip.stack_alone import StackAlone
from tests.sip.trunkline import TO, Trunkline, assert_outcome, trunkline

pytestmark = pytest.mark.sip

ANSWERED = ["< 200 INVITE", "> ACK", "> BYE", "< 200 BYE"]
"""How a call goes on that is answered, and that we hang up."""


class Refusing(SippUas):
    """``uas-refuses-400`` with another status line."""

    def __init__(self, status: str, header: str) -> None:
        super().__init__("uas-refuses-400", keys={"header": header})
        self._status = status

    def _command(self) -> list[str]:
        command = super()._command()
        path = self.directory / "scenario.xml"
        path.write_text(path.read_text(encoding="latin-1").replace("400 Bad Request", self._status), encoding="latin-1")
        return command


class WithoutRetransmissions(SippUas):
    """SIPp that takes each message for what it is, alike or not."""

    def _command(self) -> list[str]:
        return [*super()._command(), "-nr"]


async def talk(line: Trunkline, callee: SippUas, until: str = "> ACK") -> CallRecord:
    """A call that is answered and goes on until ``until`` passed, then DELETE; its final record."""
    call = await line.place()
    await line.status(call, Status.ANSWERED)
    await wait_until(lambda: until in callee.dialog(call.sip_call_id), until)
    await line.hang_up(call)
    record = await line.ended(call)
    assert_outcome(record, Status.COMPLETED, Cause.CALLER_HANGUP)
    return record


@pytest.mark.parametrize(
    ("scenario", "before"),
    [
        ("uas-183-without-sdp-then-200", ["> INVITE", "< 100 INVITE", "< 183 INVITE", "< 180 INVITE"]),
        ("uas-demands-prack", ["> INVITE", "< 100 INVITE", "< 183 INVITE", "> PRACK", "< 200 PRACK"]),
        ("uas-422-then-200", ["> INVITE", "< 422 INVITE", "> ACK", "> INVITE", "< 100 INVITE"]),
        ("uas-sends-junk", ["> INVITE", "< 199 INVITE", "< 100 INVITE", "< 180 INVITE"]),
        ("uas-answers-codecs-reordered", ["> INVITE", "< 100 INVITE", "< 180 INVITE"]),
    ],
)
async def test_a_far_end_that_answers_in_its_own_way_is_talked_to(
    tmp_path: Path, scenario: str, before: list[str]
) -> None:
    async with SippUas(scenario) as callee, trunkline(tmp_path, callee.uri) as line:
        record = await talk(line, callee)
        await wait_until(lambda: callee.dialog(record.sip_call_id)[-1] == "< 200 BYE", "the answer to BYE")
        assert callee.dialog(record.sip_call_id) == [*before, *ANSWERED]
        assert callee.complaints == []


async def test_a_reliable_183_is_acknowledged_with_its_rseq(tmp_path: Path) -> None:
    async with SippUas("uas-demands-prack") as callee, trunkline(tmp_path, callee.uri) as line:
        await talk(line, callee)
        [invite] = callee.requests("INVITE")
        [prack] = callee.requests("PRACK")
        assert "100rel" in (invite.header("Supported") or "")
        assert prack.header("RAck") == f"1 {invite.header('CSeq')}"


@pytest.mark.parametrize(
    ("trunk", "required", "expires"),
    [
        ({"session_timer": "off"}, None, None),
        ({"session_timer": "always", "session_expires": "2m"}, None, "120"),
        ({"session_timer": "required", "reliable_provisional": "required"}, "100rel, timer", "1800"),
    ],
)
async def test_the_invite_offers_what_the_trunk_is_set_to(
    tmp_path: Path, trunk: dict[str, str], required: str | None, expires: str | None
) -> None:
    async with Refusing("421 Extension Required", "Require: 100rel") as callee:
        async with trunkline(tmp_path, callee.uri, trunk=trunk) as line:
            assert_outcome(await line.call(), Status.FAILED, Cause.CALL_FAILED, sip_code=421)
        [invite] = callee.requests("INVITE")
        assert (invite.header("Require"), invite.header("Session-Expires")) == (required, expires)


@pytest.mark.parametrize(
    ("status", "header", "cause", "by"),
    [
        ("488 Not Acceptable Here", "Warning: 305 carrier x", Cause.NOT_ACCEPTABLE, Party.TRUNK),
        ("500 Server Internal Error", 'Reason: Q.850;cause=17;text="User busy"', Cause.BUSY, Party.CALLEE),
    ],
)
async def test_a_refusals_cause_is_its_status_or_its_reason_header(
    tmp_path: Path, status: str, header: str, cause: Cause, by: Party
) -> None:
    async with Refusing(status, header) as callee, trunkline(tmp_path, callee.uri) as line:
        record = await line.call()
        assert_outcome(record, Status.FAILED, cause, sip_code=int(status[:3]))
        assert record.outcome and record.outcome.by is by
        assert len(await callee.wait_for("ACK")) == 1
        assert callee.complaints == []


async def test_a_trunk_that_gives_up_after_ringing_has_failed_the_call(tmp_path: Path) -> None:
    async with SippUas("uas-503-after-180") as callee, trunkline(tmp_path, callee.uri) as line:
        record = await line.call()
        assert_outcome(record, Status.FAILED, Cause.TRUNK_UNAVAILABLE, sip_code=503)
        assert record.ringing_at
        await callee.wait_for("ACK")
        assert callee.complaints == []


async def test_100_and_then_nothing_is_cancelled_and_a_time_out_of_the_trunk(tmp_path: Path) -> None:
    async with SippUas("uas-trying-for-ever") as callee, trunkline(tmp_path, callee.uri, ring_timeout="1s") as line:
        record = await line.call()
        assert_outcome(record, Status.FAILED, Cause.TRUNK_TIMEOUT)
        await callee.wait_for("ACK")
        assert callee.dialog(record.sip_call_id)[1:] == [
            "< 100 INVITE",
            "> CANCEL",
            "< 200 CANCEL",
            "< 487 INVITE",
            "> ACK",
        ]
        assert callee.complaints == []


async def test_an_answer_without_our_codecs_is_acknowledged_and_hung_up(tmp_path: Path) -> None:
    async with SippUas("uas-answers-unoffered-codec") as callee, trunkline(tmp_path, callee.uri) as line:
        record = await line.call()
        assert_outcome(record, Status.FAILED, Cause.NOT_ACCEPTABLE)
        assert record.answered_at is None
        assert len(await callee.wait_for("BYE")) == len(callee.requests("ACK")) == 1
        assert callee.complaints == []


async def test_each_200_is_acknowledged(tmp_path: Path) -> None:
    async with WithoutRetransmissions("uas-loses-our-ack") as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await callee.wait_for("ACK", count=2)
        await line.status(call, Status.ANSWERED)
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
        assert callee.complaints == []


@pytest.mark.parametrize("scenario", ["uas-byes-as-we-do", "uas-answers-bye-with-481"])
async def test_a_far_end_that_takes_our_bye_in_its_own_way_ends_the_call_all_the_same(
    tmp_path: Path, scenario: str
) -> None:
    async with SippUas(scenario) as callee, trunkline(tmp_path, callee.uri) as line:
        await talk(line, callee)
        assert callee.complaints == []


@pytest.mark.parametrize(
    ("redirects", "contact", "follows"),
    [
        ("follow", "sip:+15550009999@127.0.0.1:{port}", True),
        ("refuse", "sip:+15550009999@127.0.0.1:{port}", False),
        ("follow", "sip:+15550009999@127.0.0.2:{port}", False),
        ("follow", "tel:+15550009999", False),
    ],
)
async def test_a_redirect_is_followed_by_leave_of_the_trunk_and_to_its_own_host_alone(
    tmp_path: Path, redirects: str, contact: str, follows: bool
) -> None:
    class Redirecting(SippUas):
        def _command(self) -> list[str]:
            command = super()._command()
            return [*command, "-key", "contact", contact.format(port=self.port)]

    async with Redirecting("uas-redirects-302") as callee:
        async with trunkline(tmp_path, callee.uri, trunk={"redirects": redirects}) as line:
            if follows:
                await talk(line, callee, "< 200 INVITE")
            else:
                record = await line.call()
                assert_outcome(record, Status.FAILED, Cause.CALL_FAILED, sip_code=302)
                assert record.outcome and "redirects" in record.outcome.hint
        called = [invite.uri.partition("@")[0] for invite in callee.requests("INVITE")]
        assert called == [f"sip:{TO}", "sip:+15550009999"][: 1 + follows]
        assert callee.complaints == []


async def test_redirects_without_end_are_followed_five_times(tmp_path: Path) -> None:
    async with SippUas("uas-redirects-for-ever") as callee:
        async with trunkline(tmp_path, callee.uri, trunk={"redirects": "follow"}) as line:
            assert_outcome(await line.call(), Status.FAILED, Cause.CALL_FAILED, sip_code=302)
        assert len(callee.requests("INVITE")) == 6
        assert callee.complaints == []


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_a_session_that_the_far_end_refreshes_goes_on(tmp_path: Path, method: str) -> None:
    scenario = {"INVITE": "uas-refreshes-by-reinvite", "UPDATE": "uas-refreshes-by-update"}[method]
    with RtpTap() as tap:
        async with SippUas(scenario, hold_ms=200, rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            record = await talk(line, callee, f"> 200 {method}")
            refreshed = next(m for m in callee.responses(method) if m.status == 200)
            assert refreshed.header("Session-Expires") == "90;refresher=uac"
            assert callee.complaints == []
            assert record.media and record.media["rtp_sent"] == len(tap.packets())
            assert len({packet.ssrc for packet in tap.packets()}) == 1, "one stream, before and after"


async def test_a_session_that_is_ours_to_refresh_is_refreshed_at_half_its_interval(tmp_path: Path) -> None:
    async with SippUas("uas-lets-us-refresh") as callee, StackAlone(callee.uri) as stack:
        await callee.wait_for("ACK")

        async def refreshed(count: int) -> None:
            await wait_until(lambda: callee.dialog("alone").count("< 200 UPDATE") == count, f"{count} refreshes")

        for count in (1, 2):
            stack.pass_time(46)
            await refreshed(count)
        assert callee.requests("UPDATE")[0].header("Session-Expires") == "90;refresher=uac"
        stack.hang_up()
        assert (await stack.ended()).sip_code == 200
        assert callee.complaints == []


async def test_a_session_that_the_far_end_forgets_to_refresh_is_ended_before_its_interval_is_over() -> None:
    async with SippUas("uas-never-refreshes") as callee, StackAlone(callee.uri) as stack:
        await callee.wait_for("ACK")
        stack.pass_time(61)
        end = await stack.ended()
        assert (end.sip_code, end.by_remote, end.confirmed) == (408, False, True), "the cause session-expired"
        assert len(await callee.wait_for("BYE")) == 1
        assert callee.complaints == []


async def test_what_is_not_spoken_is_refused_and_the_call_goes_on_without_another(tmp_path: Path) -> None:
    async with SippUas("uas-asks-for-what-is-not-spoken") as callee, trunkline(tmp_path, callee.uri) as line:
        await talk(line, callee, "> 488 INVITE")
        [invite] = callee.requests("INVITE")
        spoken = "INVITE, ACK, CANCEL, BYE, UPDATE, PRACK, INFO, OPTIONS"
        assert set((invite.header("Allow") or "").split(", ")) == set(spoken.split(", "))
        assert set((invite.header("Supported") or "").split(", ")) == {"100rel", "timer"}
        assert [answer.header("Allow") for answer in callee.responses("REFER")] == [spoken]
        assert [answer.header("Unsupported") for answer in callee.responses("UPDATE")] == ["x-carrier"]
        assert callee.complaints == []


async def test_a_call_from_outside_is_refused_also_when_it_is_to_replace_one_of_ours(tmp_path: Path) -> None:
    async with SippUas("uas-answers-and-echoes-rtp") as callee, trunkline(tmp_path, callee.uri) as line:
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        [ack] = await callee.wait_for("ACK")
        ours, theirs = ((ack.header(name) or "").partition("tag=")[2] for name in ("From", "To"))
        contact = (callee.requests("INVITE")[0].header("Contact") or "").strip("<>")
        port = int(contact.rpartition(":")[2])
        replaces = f"Replaces: {ack.call_id};to-tag={ours};from-tag={theirs}\r\n"
        for replacing in ("", replaces):
            assert await asyncio.to_thread(invite_at, port, replacing) == "SIP/2.0 403 Forbidden"
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
        assert callee.complaints == []


def invite_at(port: int, header: str) -> str:
    """The status line that an INVITE from nobody gets there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(30)
        udp.connect(("127.0.0.1", port))
        here = f"127.0.0.1:{udp.getsockname()[1]}"
        udp.send(
            f"INVITE sip:anybody@127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{len(header)}\r\n"
            "Max-Forwards: 70\r\nFrom: <sip:nobody@127.0.0.1>;tag=1\r\nTo: <sip:anybody@127.0.0.1>\r\n"
            f"Call-ID: outside{len(header)}\r\nCSeq: 1 INVITE\r\nContact: <sip:{here}>\r\n{header}"
            "Content-Length: 0\r\n\r\n".encode()
        )
        return udp.recv(65_535).decode().split("\r\n")[0]
