"""What the table of a call's states promises: where a call can get to, and what can never happen to it."""

from __future__ import annotations

import pytest

from engine.calls.state import (
    TRANSITIONS,
    CallState,
    IllegalTransition,
    Trigger,
    allows,
    next_state,
    status_of,
    trigger_of,
)
from engine.records import Status

S, T = CallState, Trigger


def test_every_state_is_in_the_table_and_can_be_reached_from_the_first() -> None:
    reached, unseen = set[CallState](), {S.TRYING}
    while unseen:
        state = unseen.pop()
        reached.add(state)
        unseen |= {*TRANSITIONS[state].values()} - reached
    assert reached == set(TRANSITIONS) == set(CallState)


def test_every_call_can_end_and_one_that_has_ended_stays_so() -> None:
    assert {state for state in S if not allows(state, T.END)} == {S.TERMINATED}
    assert {next_state(state, T.END) for state in S if state is not S.TERMINATED} == {S.TERMINATED}
    assert TRANSITIONS[S.TERMINATED] == {}


@pytest.mark.parametrize("state", [S.TRYING, S.PROCEEDING, S.EARLY, S.CONFIRMED])
def test_an_answer_confirms_a_call_whatever_came_before(state: CallState) -> None:
    assert next_state(state, T.ANSWER) is S.CONFIRMED


@pytest.mark.parametrize(
    ("state", "late"),
    [
        (S.PROCEEDING, T.PROVISIONAL),
        (S.EARLY, T.PROVISIONAL),
        (S.EARLY, T.ALERTING),
        (S.CONFIRMED, T.PROVISIONAL),
        (S.CONFIRMED, T.ALERTING),
    ],
)
def test_a_late_provisional_response_does_not_move_a_call_back(state: CallState, late: Trigger) -> None:
    assert next_state(state, late) is state


def test_another_trunk_is_tried_only_before_the_phone_has_rung() -> None:
    assert {state for state in S if allows(state, T.NEXT_TRUNK)} == {S.TRYING, S.PROCEEDING}
    assert {next_state(state, T.NEXT_TRUNK) for state in (S.TRYING, S.PROCEEDING)} == {S.TRYING}


@pytest.mark.parametrize(
    ("state", "trigger"), [(state, trigger) for state in S for trigger in T if not allows(state, trigger)]
)
def test_what_the_table_does_not_have_is_refused_and_named(state: CallState, trigger: Trigger) -> None:
    with pytest.raises(IllegalTransition, match=f"a {state} call cannot take {trigger}"):
        next_state(state, trigger)


@pytest.mark.parametrize(
    ("code", "trigger"),
    [(100, T.PROVISIONAL), (180, T.ALERTING), (183, T.ALERTING), (189, T.ALERTING), (199, T.PROVISIONAL)],
)
def test_a_provisional_response_alerts_or_does_not(code: int, trigger: Trigger) -> None:
    assert trigger_of(code) is trigger


@pytest.mark.parametrize(
    ("state", "answered", "status"),
    [
        (S.TRYING, False, Status.INITIATED),
        (S.PROCEEDING, False, Status.INITIATED),
        (S.EARLY, False, Status.RINGING),
        (S.CONFIRMED, True, Status.ANSWERED),
        (S.TERMINATED, True, Status.COMPLETED),
        (S.TERMINATED, False, Status.FAILED),
    ],
)
def test_the_contract_status_follows_from_the_state(state: CallState, answered: bool, status: Status) -> None:
    assert status_of(state, answered=answered) is status
