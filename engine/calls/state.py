"""The states of a call: the one table of the states and of everything that moves a call from one to another.

The states are the dialog states of RFC 4235 §3.7.1. A call is *trying* from the beginning until the far end responds to
its INVITE. A provisional response without more makes it *proceeding*, one that says that the far end is being alerted
makes it *early*, a 2xx makes it *confirmed*. When a trunk fails before the phone has rung, the next trunk is dialled
and the call is *trying* again. Whatever ends the call, from whichever side, makes it *terminated*, for good; the
``Outcome`` beside the state says why.

A provisional response may arrive late (after the 2xx, or 100 after 180), because networks have more than one path: it
has a row in the table and moves nothing. Anything else that is not in the table is a mistake in our code and raises.
"""

from __future__ import annotations

import enum

from engine.records import Status


class CallState(enum.StrEnum):
    """A dialog's state as the caller sees it (RFC 4235 §3.7.1)."""

    TRYING = "trying"
    PROCEEDING = "proceeding"
    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Trigger(enum.StrEnum):
    """What can happen to a call."""

    PROVISIONAL = "1xx"
    """100, or another provisional response that does not alert."""
    ALERTING = "18x"
    ANSWER = "2xx"
    NEXT_TRUNK = "next trunk"
    """The trunk failed, and the call goes to another one. Not once the phone has rung: it would ring a second time."""
    END = "end"


TRANSITIONS: dict[CallState, dict[Trigger, CallState]] = {
    CallState.TRYING: {
        Trigger.PROVISIONAL: CallState.PROCEEDING,
        Trigger.ALERTING: CallState.EARLY,
        Trigger.ANSWER: CallState.CONFIRMED,
        Trigger.NEXT_TRUNK: CallState.TRYING,
        Trigger.END: CallState.TERMINATED,
    },
    CallState.PROCEEDING: {
        Trigger.PROVISIONAL: CallState.PROCEEDING,
        Trigger.ALERTING: CallState.EARLY,
        Trigger.ANSWER: CallState.CONFIRMED,
        Trigger.NEXT_TRUNK: CallState.TRYING,
        Trigger.END: CallState.TERMINATED,
    },
    CallState.EARLY: {
        Trigger.PROVISIONAL: CallState.EARLY,
        Trigger.ALERTING: CallState.EARLY,
        Trigger.ANSWER: CallState.CONFIRMED,
        Trigger.END: CallState.TERMINATED,
    },
    CallState.CONFIRMED: {
        Trigger.PROVISIONAL: CallState.CONFIRMED,
        Trigger.ALERTING: CallState.CONFIRMED,
        Trigger.ANSWER: CallState.CONFIRMED,
        Trigger.END: CallState.TERMINATED,
    },
    CallState.TERMINATED: {},
}


class IllegalTransition(Exception):
    """The call's state has no row for the trigger; the state is unchanged."""

    def __init__(self, state: CallState, trigger: Trigger) -> None:
        self.state = state
        self.trigger = trigger
        super().__init__(f"a {state} call cannot take {trigger}")


def next_state(state: CallState, trigger: Trigger) -> CallState:
    """The state after ``trigger``. Raises ``IllegalTransition``."""
    try:
        return TRANSITIONS[state][trigger]
    except KeyError:
        raise IllegalTransition(state, trigger) from None


def allows(state: CallState, trigger: Trigger) -> bool:
    """Whether the table has a row for ``trigger`` in ``state``."""
    return trigger in TRANSITIONS[state]


def trigger_of(provisional: int) -> Trigger:
    """What a provisional response to our INVITE (100 to 199) is to the call (RFC 3261 §21.1).

    181 and 182 alert as 180 does: the call has reached somebody.
    """
    return Trigger.ALERTING if 180 <= provisional < 190 else Trigger.PROVISIONAL


def status_of(state: CallState, *, answered: bool) -> Status:
    """The contract's status of a call in ``state``: a call that was answered ends completed, any other failed."""
    match state:
        case CallState.TRYING | CallState.PROCEEDING:
            return Status.INITIATED
        case CallState.EARLY:
            return Status.RINGING
        case CallState.CONFIRMED:
            return Status.ANSWERED
        case CallState.TERMINATED:
            return Status.COMPLETED if answered else Status.FAILED
