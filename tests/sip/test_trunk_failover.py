"""Several trunks: which of them a call reaches, what each said, and the limits they are held to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.outcome import Cause
from engine.records import CallRecord, Status
from tests.sip.peers import PASSWORD, USERNAME, Kamailio, SippUas
from tests.sip.process import free_port, wait_until
from tests.sip.trunkline import LIVE, Trunkline, assert_outcome, trunkline

pytestmark = pytest.mark.sip


def backup(callee: SippUas, **settings: Any) -> Mapping[str, Any]:
    """A second trunk, with the first one's account."""
    return {"name": "backup", "uri": callee.uri, "username": USERNAME, "password": PASSWORD, **settings}


def said(record: CallRecord) -> list[tuple[str, int | None, Cause]]:
    """What each trunk that was tried said."""
    outcomes = [(attempt.trunk, attempt.outcome) for attempt in record.attempts]
    return [(trunk, outcome.sip_code, outcome.cause) for trunk, outcome in outcomes if outcome]


@pytest.mark.parametrize(
    ("scenario", "first_calls"), [("uas-unavailable-503", 1), ("uas-unavailable-503-without-retry-after", 2)]
)
async def test_a_503_goes_to_the_next_trunk_and_its_retry_after_takes_the_first_one_out(
    tmp_path: Path, scenario: str, first_calls: int
) -> None:
    async with (
        SippUas(scenario) as first,
        SippUas("uas-answers-then-byes") as second,
        trunkline(tmp_path, first.uri, others=(backup(second),)) as line,
    ):
        record, again = await line.call(), await line.call()
        assert_outcome(record, Status.COMPLETED, Cause.CALLEE_HANGUP)
        assert said(record) == [("tests", 503, Cause.TRUNK_UNAVAILABLE), ("backup", None, Cause.CALLEE_HANGUP)]
        assert (record.trunk, again.trunk) == ("backup", "backup")
        assert [attempt.sip_call_id for attempt in record.attempts] == [
            first.requests("INVITE")[0].call_id,
            second.requests("INVITE")[0].call_id,
        ]
        assert record.attempts[0].sip_call_id == record.sip_call_id
        assert len({invite.call_id for invite in first.requests("INVITE")}) == first_calls
        out = line.engine.trunks(LIVE)[0].health
        assert out.up is (first_calls == 2)
        assert first.complaints == second.complaints == []


@pytest.mark.parametrize(
    ("scenario", "cause"),
    [
        ("uas-busy-486", Cause.BUSY),
        ("uas-not-found-404", Cause.INVALID_NUMBER),
        ("uas-declines-603", Cause.REJECTED),
        ("uas-unavailable-503-busy", Cause.BUSY),
    ],
)
async def test_what_concerns_the_callee_is_asked_of_no_other_trunk(tmp_path: Path, scenario: str, cause: Cause) -> None:
    async with (
        SippUas(scenario) as first,
        SippUas("uas-answers-then-byes") as second,
        trunkline(tmp_path, first.uri, others=(backup(second),)) as line,
    ):
        record = await line.call()
        assert record.outcome and record.outcome.cause is cause
        assert len(record.attempts) == 1
        assert second.messages == []


async def test_when_all_trunks_fail_the_record_says_what_each_said(tmp_path: Path) -> None:
    nobody = f"sip:127.0.0.1:{free_port(streams=True)};transport=tcp"
    async with (
        SippUas("uas-unavailable-503") as second,
        trunkline(tmp_path, nobody, others=(backup(second),)) as line,
    ):
        record = await line.call()
        assert_outcome(record, Status.FAILED, Cause.TRUNK_UNAVAILABLE, sip_code=503)
        assert record.outcome and record.outcome.detail.endswith("2 trunks were tried.")
        assert said(record) == [("tests", None, Cause.TRUNK_UNAVAILABLE), ("backup", 503, Cause.TRUNK_UNAVAILABLE)]
        stored = await line.engine.get(record.id, LIVE)
        assert stored.attempts == record.attempts, "the store has it too"


async def test_a_late_answer_of_a_trunk_that_was_given_up_is_acknowledged_and_hung_up(tmp_path: Path) -> None:
    async with (
        SippUas("uas-answers-late", hold_ms=800) as first,
        SippUas("uas-answers-and-echoes-rtp") as second,
        trunkline(tmp_path, first.uri, trunk={"response_timeout": "0.3s"}, others=(backup(second),)) as line,
    ):
        call = await line.place()
        answered = await line.status(call, Status.ANSWERED)
        assert [attempt.trunk for attempt in answered.attempts] == ["tests", "backup"]
        assert line.engine.trunks(LIVE)[0].calls == 1, "the attempt holds its line until it is over"
        await first.wait_for("BYE")
        await wait_until(lambda: line.engine.trunks(LIVE)[0].calls == 0, "the line of the late answer free again")
        dialog = first.dialog(call.sip_call_id)
        assert dialog[-4:-1] == ["> ACK", "> BYE", "< 200 BYE"] or dialog[-3:] == ["> ACK", "> BYE", "< 200 BYE"]
        assert (await line.engine.get(call.id, LIVE)).status is Status.ANSWERED
        await line.hang_up(call)
        assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
        assert first.complaints == second.complaints == []


async def test_calls_per_second_are_never_passed_at_the_far_end(tmp_path: Path) -> None:
    async with (
        SippUas("uas-answers-then-byes") as callee,
        trunkline(tmp_path, callee.uri, max_calls=8, trunk={"calls_per_second": 3}) as line,
    ):
        records = await asyncio.gather(*(line.call() for _ in range(8)))
        assert {record.status for record in records} == {Status.COMPLETED}
        sent = sorted(invite.at for invite in callee.requests("INVITE"))
        windows = [(later - earlier).total_seconds() for earlier, later in zip(sent, sent[3:], strict=False)]
        # SIPp's stamp is when it got round to reading the message: on a busy machine far later than it came.
        assert min(windows) > 0.5, windows


async def test_concurrent_calls_of_a_trunk_are_capped_and_a_call_that_waits_too_long_names_the_limit(
    tmp_path: Path,
) -> None:
    async with (
        SippUas("uas-answers-and-echoes-rtp") as callee,
        trunkline(tmp_path, callee.uri, trunk={"max_calls": 2}, sip={"queue_timeout": "0.5s"}) as line,
    ):
        first, second = await line.place(), await line.place()
        for call in (first, second):
            await line.status(call, Status.ANSWERED)
        record = await line.call()
        assert_outcome(record, Status.FAILED, Cause.NO_CAPACITY)
        assert record.outcome and "trunks[tests].max_calls = 2" in record.outcome.detail
        assert record.attempts == ()
        waiting = await line.place()
        await line.hang_up(first)
        await line.status(waiting, Status.ANSWERED)
        assert line.engine.trunks(LIVE)[0].calls == 2
        for call in (second, waiting):
            await line.hang_up(call)
            await line.ended(call)


async def test_a_trunk_whose_probes_are_not_answered_gets_no_calls_until_one_is(tmp_path: Path) -> None:
    port = free_port()
    uri, probed = f"sip:127.0.0.1:{port}", {"probe_interval": "0.3s", "probe_failures": 2}
    async with (
        SippUas("uas-answers-then-byes") as pstn,
        SippUas("uas-answers-then-byes") as second,
        trunkline(tmp_path, uri, trunk=probed, others=(backup(second),), until_ready=False) as line,
    ):
        health = line.engine.trunks(LIVE)[0].health
        async with Kamailio(gateway=pstn.uri, port=port):
            await wait_until(lambda: health.probe is not None and health.probe.code == 200, "an answer to OPTIONS")
            assert (await line.call()).trunk == "tests"
        await wait_until(lambda: not health.up, "two probes in vain")
        assert str(health) == "down, OPTIONS failed: 408 no answer"
        record = await line.call()
        assert [attempt.trunk for attempt in record.attempts] == ["backup"]
        async with Kamailio(gateway=pstn.uri, port=port):
            await wait_until(lambda: health.up, "an answer to OPTIONS again")
            assert (await line.call()).trunk == "tests"


async def test_sixty_calls_while_the_first_trunk_answers_503_then_nothing_then_is_back(tmp_path: Path) -> None:
    port = free_port()
    uri = f"sip:127.0.0.1:{port}"
    async with (
        SippUas("uas-answers-then-byes") as second,
        trunkline(
            tmp_path, uri, max_calls=12, trunk={"response_timeout": "0.3s"}, others=(backup(second),), until_ready=False
        ) as line,
    ):
        async with SippUas("uas-unavailable-503-without-retry-after", port=port):
            await wait_until(lambda: line.engine.readiness().ready, "a warm worker")
            refusing = await twenty(line)
        dead = await twenty(line)
        async with SippUas("uas-answers-then-byes", port=port):
            back = await twenty(line)
    print("\nfirst trunk    calls  went")
    for name, went in (("answers 503", refusing), ("dead", dead), ("back", back)):
        for path, calls in went.items():
            print(f"{name:14} {calls:5}  {path}")
    assert refusing == {"tests 503 → backup: callee-hangup": 20}
    assert dead == {"tests trunk-timeout → backup: callee-hangup": 20}
    assert back == {"tests: callee-hangup": 20}


async def twenty(line: Trunkline) -> Counter[str]:
    """Place twenty calls, four at a time; how often which way was gone."""
    went: Counter[str] = Counter()
    for _ in range(5):
        for record in await asyncio.gather(*(line.call() for _ in range(4))):
            *failed, (trunk, _, cause) = said(record)
            went[" → ".join([*(f"{name} {code or why}" for name, code, why in failed), f"{trunk}: {cause}"])] += 1
    return went


async def test_more_trunks_than_pjsip_has_accounts_take_turns_in_a_worker(tmp_path: Path) -> None:
    async with SippUas("uas-unavailable-503-without-retry-after") as full, SippUas("uas-answers-then-byes") as last:
        others = [backup(full, name=f"full-{number}") for number in range(9)]
        async with trunkline(tmp_path, full.uri, others=(*others, backup(last))) as line:
            record = await line.call()
            assert_outcome(record, Status.COMPLETED, Cause.CALLEE_HANGUP)
            assert [code for _, code, _ in said(record)] == [503] * 10 + [None]
