"""From what the wire said to a cause and a sentence."""

from __future__ import annotations

import pytest

from engine.outcome import CANCELED, Cause, Outcome, Party
from engine.sip.causes import ended_by_bye, pause_s, refusal, trunk_failed


@pytest.mark.parametrize(
    ("code", "cause", "by", "retryable"),
    [
        (302, Cause.CALL_FAILED, Party.TRUNK, False),
        (401, Cause.AUTH_FAILED, Party.TRUNK, False),
        (402, Cause.REJECTED, Party.TRUNK, False),
        (403, Cause.REJECTED, Party.TRUNK, False),
        (404, Cause.INVALID_NUMBER, Party.TRUNK, False),
        (407, Cause.AUTH_FAILED, Party.TRUNK, False),
        (429, Cause.TRUNK_UNAVAILABLE, Party.TRUNK, True),
        (408, Cause.NO_ANSWER, Party.CALLEE, True),
        (480, Cause.NO_ANSWER, Party.CALLEE, True),
        (484, Cause.INVALID_NUMBER, Party.TRUNK, False),
        (486, Cause.BUSY, Party.CALLEE, True),
        (488, Cause.NOT_ACCEPTABLE, Party.TRUNK, False),
        (500, Cause.TRUNK_UNAVAILABLE, Party.TRUNK, True),
        (503, Cause.TRUNK_UNAVAILABLE, Party.TRUNK, True),
        (600, Cause.BUSY, Party.CALLEE, True),
        (603, Cause.REJECTED, Party.CALLEE, False),
        (606, Cause.NOT_ACCEPTABLE, Party.TRUNK, False),
        (499, Cause.CALL_FAILED, Party.TRUNK, False),
    ],
)
def test_a_final_response_becomes_a_cause(code: int, cause: Cause, by: Party, retryable: bool) -> None:
    outcome = refusal(code, "Reason phrase")
    assert (outcome.cause, outcome.by, outcome.retryable) == (cause, by, retryable)
    assert (outcome.sip_code, outcome.sip_reason) == (code, "Reason phrase")
    assert outcome.detail.endswith(".")


@pytest.mark.parametrize(
    ("code", "q850", "cause"),
    [
        (480, 17, Cause.BUSY),
        (503, 1, Cause.INVALID_NUMBER),
        (486, 16, Cause.BUSY),
        (404, 21, Cause.REJECTED),
        (500, 127, Cause.TRUNK_UNAVAILABLE),
        (480, 102, Cause.TRUNK_UNAVAILABLE),
        (503, 52, Cause.REJECTED),
    ],
)
def test_the_reason_header_wins_over_the_status_unless_it_says_nothing(code: int, q850: int, cause: Cause) -> None:
    outcome = refusal(code, "", q850)
    assert (outcome.cause, outcome.q850, outcome.sip_code) == (cause, q850, code)


@pytest.mark.parametrize("q850", [0, 16, 21, 63])
@pytest.mark.parametrize("code", [403, 603])
def test_a_pbx_that_mirrors_its_hangup_cause_has_refused_the_call_itself(code: int, q850: int) -> None:
    outcome = refusal(code, "Forbidden", q850)
    assert (outcome.cause, outcome.by, outcome.detail) == (Cause.REJECTED, Party.TRUNK, "The trunk refused the call.")
    assert "caller number" in outcome.hint
    assert trunk_failed(outcome, {code})


@pytest.mark.parametrize("q850", [None, 31, 127])
def test_a_decline_without_such_a_cause_is_the_callees(q850: int | None) -> None:
    assert refusal(603, "Decline", q850).by is Party.CALLEE


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (403, "CPS limit exceeded"),
        (403, "CPS Limit Exceeded"),
        (403, "Too many calls"),
        (403, "Call rate exceeded"),
        (403, "Maximum calls in progress"),
        (429, "Too Many Requests"),
        (429, ""),
        (503, "Channel limit reached"),
        (603, "Concurrent call limit"),
    ],
)
@pytest.mark.parametrize("q850", [None, 16, 21])
def test_a_carriers_limit_is_reported_as_such_may_be_retried_and_another_trunk_may_help(
    code: int, reason: str, q850: int | None
) -> None:
    if (code, q850) in ((429, 21), (503, 21)):
        return  # the Q.850 cause wins
    outcome = refusal(code, reason, q850, retry_after_s=2)
    assert (outcome.cause, outcome.by, outcome.retryable) == (Cause.TRUNK_UNAVAILABLE, Party.TRUNK, True)
    assert "limit" in outcome.detail
    assert "calls_per_second" in outcome.hint
    assert trunk_failed(outcome, {408})
    assert pause_s(outcome) == 2


@pytest.mark.parametrize(
    ("code", "reason"), [(403, "Credit limit exceeded"), (403, "Forbidden"), (486, "Too many calls"), (404, "CPS")]
)
def test_other_refusals_are_not_taken_for_a_carriers_limit(code: int, reason: str) -> None:
    outcome = refusal(code, reason, retry_after_s=2)
    assert "limit" not in outcome.detail
    assert not trunk_failed(outcome, {408})
    assert pause_s(outcome) is None


def test_no_answer_from_the_trunk_at_all_is_a_time_out_of_the_trunk_not_of_the_callee() -> None:
    outcome = refusal(408, "Request Timeout", by_remote=False)
    assert (outcome.cause, outcome.by, outcome.sip_code) == (Cause.TRUNK_TIMEOUT, Party.TRUNK, None)


def test_a_transport_error_names_itself() -> None:
    outcome = refusal(503, "Connection refused", by_remote=False)
    assert outcome.cause is Cause.TRUNK_UNAVAILABLE
    assert "Connection refused" in outcome.detail


@pytest.mark.parametrize(
    ("outcome", "failed"),
    [
        (refusal(503, ""), True),
        (refusal(503, "", 38), True),
        (refusal(503, "", 127), True),
        (refusal(503, "", 17), False),
        (refusal(501, ""), False),
        (refusal(486, ""), False),
        (refusal(408, "", by_remote=False), True),
        (refusal(503, "Connection refused", by_remote=False), True),
        (CANCELED, False),
    ],
)
def test_another_trunk_may_help_only_where_the_trunk_failed(outcome: Outcome, failed: bool) -> None:
    assert trunk_failed(outcome, {408, 503}) is failed


@pytest.mark.parametrize(
    ("q850", "cause"), [(None, Cause.CALLEE_HANGUP), (16, Cause.CALLEE_HANGUP), (38, Cause.CALL_FAILED)]
)
def test_a_bye_is_the_callees_unless_it_reports_a_failure_of_the_network(q850: int | None, cause: Cause) -> None:
    assert (ended_by_bye(q850).cause, ended_by_bye(q850).q850) == (cause, q850)


def test_an_answer_that_our_own_stack_cannot_use_is_not_acceptable() -> None:
    outcome = refusal(488, "Unable to create media session", by_remote=False)
    assert (outcome.cause, outcome.sip_code) == (Cause.NOT_ACCEPTABLE, None)
