"""The call's table: every state, every trigger, every illegal pair."""

from __future__ import annotations

import itertools

import pytest

from engine.calls.state import TRANSITIONS, CallState, IllegalTransition, Trigger, next_state, status_of, trigger_of
from engine.records import Status

S, T = CallState, Trigger

LEGAL = [
    (S.TRYING, T.PROVISIONAL, S.PROCEEDING),
    (S.TRYING, T.ALERTING, S.EARLY),
    (S.TRYING, T.ANSWER, S.CONFIRMED),
    (S.TRYING, T.END, S.TERMINATED),
    (S.PROCEEDING, T.PROVISIONAL, S.PROCEEDING),
    (S.PROCEEDING, T.ALERTING, S.EARLY),
    (S.PROCEEDING, T.ANSWER, S.CONFIRMED),
    (S.PROCEEDING, T.END, S.TERMINATED),
    (S.EARLY, T.PROVISIONAL, S.EARLY),
    (S.EARLY, T.ALERTING, S.EARLY),
    (S.EARLY, T.ANSWER, S.CONFIRMED),
    (S.EARLY, T.END, S.TERMINATED),
    (S.CONFIRMED, T.PROVISIONAL, S.CONFIRMED),
    (S.CONFIRMED, T.ALERTING, S.CONFIRMED),
    (S.CONFIRMED, T.ANSWER, S.CONFIRMED),
    (S.CONFIRMED, T.END, S.TERMINATED),
]
ILLEGAL = [pair for pair in itertools.product(S, T) if pair not in {(state, trigger) for state, trigger, _ in LEGAL}]


@pytest.mark.parametrize(("before", "trigger", "after"), LEGAL, ids=[f"{b}--{t}-->{a}" for b, t, a in LEGAL])
def test_a_legal_trigger_moves_the_call(before: CallState, trigger: Trigger, after: CallState) -> None:
    assert next_state(before, trigger) is after


@pytest.mark.parametrize(("state", "trigger"), ILLEGAL, ids=[f"(illegal) {s}--{t}" for s, t in ILLEGAL])
def test_an_illegal_trigger_is_refused(state: CallState, trigger: Trigger) -> None:
    with pytest.raises(IllegalTransition, match=f"a {state} call cannot take {trigger}"):
        next_state(state, trigger)


def test_the_table_names_every_state_and_only_the_end_is_a_dead_end() -> None:
    assert set(TRANSITIONS) == set(CallState)
    assert [state for state, row in TRANSITIONS.items() if not row] == [CallState.TERMINATED]


@pytest.mark.parametrize(
    ("code", "trigger"),
    [
        (100, T.PROVISIONAL),
        (180, T.ALERTING),
        (183, T.ALERTING),
        (199, T.PROVISIONAL),
        (200, T.ANSWER),
        (202, T.ANSWER),
        (302, T.END),
        (486, T.END),
        (603, T.END),
    ],
)
def test_a_response_is_what_its_class_says(code: int, trigger: Trigger) -> None:
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
