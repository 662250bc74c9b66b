"""Where a call is: the one table of states and what moves between them.

The states are the dialog states of RFC 4235 §3.7.1. A call starts in *trying* when its INVITE leaves. A provisional
response without more makes it *proceeding*, one that says that the far end is being alerted makes it *early*, a 2xx
makes it *confirmed*. Whatever ends it, from whichever side, makes it *terminated*, once and for good: why is not told
here but by the ``Outcome`` beside it. A provisional response that arrives late (after the 2xx, or 100 after 180) is a
fact of networks with more than one path and has a row of its own. Anything else is our mistake and raises.
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
    END = "end"


TRANSITIONS: dict[CallState, dict[Trigger, CallState]] = {
    CallState.TRYING: {
        Trigger.PROVISIONAL: CallState.PROCEEDING,
        Trigger.ALERTING: CallState.EARLY,
        Trigger.ANSWER: CallState.CONFIRMED,
        Trigger.END: CallState.TERMINATED,
    },
    CallState.PROCEEDING: {
        Trigger.PROVISIONAL: CallState.PROCEEDING,
        Trigger.ALERTING: CallState.EARLY,
        Trigger.ANSWER: CallState.CONFIRMED,
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
    """Something happened to a call that cannot happen in its state; the state is unchanged."""

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


def trigger_of(sip_code: int) -> Trigger:
    """What a response to our INVITE is to the call (RFC 3261 §21); 181 and 182 alert: it is on its way."""
    if sip_code < 200:
        return Trigger.ALERTING if 180 <= sip_code < 190 else Trigger.PROVISIONAL
    return Trigger.ANSWER if sip_code < 300 else Trigger.END


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
