"""Who may dial when: order of arrival and every limit, by table and by random traffic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.calls.pacer import DialGrant, Pacer, Ticket
from engine.records import AttemptId
from engine.trunks.trunks import TrunkLimits


class Rig:
    """A pacer, so many lines, and a clock that is turned; an INVITE leaves ``lag_s`` after it was let through."""

    def __init__(self, trunks: dict[str, TrunkLimits], *, lines: int = 1000, creations: int | None = None) -> None:
        self.pacer = Pacer(trunks, creations_per_second=creations)
        self.free = lines
        self.down: set[str] = set()
        self.now_s = 100.0
        self.granted: list[DialGrant] = []

    def join(self, attempt_id: str, *route: str, ai: bool = False) -> None:
        self.pacer.join(Ticket(attempt_id=AttemptId(attempt_id), route=route or ("a",), new_session=ai))

    def lease(self, attempt_id: AttemptId) -> int | None:
        if not self.free:
            return None
        self.free -= 1
        return 0

    def grants(self) -> list[tuple[str, str]]:
        fresh = list(self.pacer.grants(self.now_s, lambda name: name not in self.down, self.lease))
        self.granted += fresh
        return [(each.attempt_id, each.trunk) for each in fresh]

    def over(self, attempt_id: str) -> None:
        self.pacer.mark_ended(AttemptId(attempt_id))
        self.free += 1


def test_attempts_are_let_through_in_order_of_arrival_as_lines_become_free() -> None:
    rig = Rig({"a": TrunkLimits()}, lines=1)
    for attempt_id in ("1", "2", "3"):
        rig.join(attempt_id)
    assert rig.grants() == [("1", "a")]
    assert rig.pacer.wake_at_s() is None
    rig.over("1")
    assert rig.grants() == [("2", "a")]
    assert rig.pacer.leave(AttemptId("3")) == "sip.max_calls"


def test_a_full_trunk_is_passed_over_and_without_another_its_limit_is_named() -> None:
    rig = Rig({"a": TrunkLimits(max_calls=1), "b": TrunkLimits(max_calls=1)})
    for attempt_id in ("1", "2", "3"):
        rig.join(attempt_id, "a", "b")
    rig.join("4", "a")
    assert rig.grants() == [("1", "a"), ("2", "b")]
    assert (rig.pacer.calls("a"), rig.pacer.calls("b")) == (1, 1)
    rig.over("2")
    assert rig.grants() == [("3", "b")]
    assert rig.pacer.leave(AttemptId("4")) == "trunks[a].max_calls = 1"


def test_the_second_of_a_rate_begins_when_the_invite_left() -> None:
    rig = Rig({"a": TrunkLimits(calls_per_second=2)})
    for attempt_id in ("1", "2", "3"):
        rig.join(attempt_id)
    assert rig.grants() == [("1", "a"), ("2", "a")]
    assert rig.pacer.wake_at_s() is None, "nobody knows yet when the INVITEs left"
    rig.pacer.sent(AttemptId("1"), 100.5)
    rig.pacer.sent(AttemptId("2"), 100.25)
    assert rig.pacer.wake_at_s() == 101.25
    rig.now_s = 101.249
    assert rig.grants() == []
    rig.now_s = 101.25
    assert rig.grants() == [("3", "a")]


def test_an_invite_that_never_left_does_not_count_for_the_rate() -> None:
    rig = Rig({"a": TrunkLimits(calls_per_second=1)})
    rig.join("1")
    rig.join("2")
    rig.grants()
    rig.over("1")
    assert rig.grants() == [("2", "a")]


def test_a_trunk_that_is_down_gets_nothing_and_waiting_for_it_names_no_limit() -> None:
    rig = Rig({"a": TrunkLimits()})
    rig.down.add("a")
    rig.join("1")
    assert rig.grants() == []
    rig.down.clear()
    assert rig.grants() == [("1", "a")]
    rig.down.add("a")
    rig.join("2")
    rig.grants()
    assert rig.pacer.leave(AttemptId("2")) == ""


def test_ai_calls_wait_for_the_agent_services_rate_and_plain_ones_pass_them() -> None:
    rig = Rig({"a": TrunkLimits()}, creations=1)
    rig.join("1", ai=True)
    rig.join("2", ai=True)
    rig.join("3")
    assert rig.grants() == [("1", "a"), ("3", "a")]
    assert rig.pacer.wake_at_s() == 101.0
    assert rig.pacer.leave(AttemptId("2")) == "ultravox.creations_per_second = 1"


def test_ai_calls_wait_as_long_as_the_agent_service_asks_and_plain_ones_pass_them() -> None:
    rig = Rig({"a": TrunkLimits()})
    rig.pacer.hold_sessions(103.0)
    rig.pacer.hold_sessions(102.0)
    rig.join("1", ai=True)
    rig.join("2")
    assert rig.grants() == [("2", "a")]
    assert rig.pacer.wake_at_s() == 103.0
    rig.now_s = 103.0
    assert rig.grants() == [("1", "a")]
    assert rig.pacer.wake_at_s() is None


@pytest.mark.parametrize(
    ("waiting", "limits", "ai", "wait_s"),
    [(0, 2, False, 0), (40, 2, False, 20), (40, None, False, 0), (40, None, True, 8), (40, 20, True, 8)],
)
def test_how_long_a_newcomer_would_wait_is_known_from_the_rates(
    waiting: int, limits: int | None, ai: bool, wait_s: float
) -> None:
    rig = Rig({"a": TrunkLimits(calls_per_second=limits)}, creations=5)
    for number in range(waiting):
        rig.join(str(number), ai=ai)
    assert rig.pacer.wait_s(("a",), new_session=ai) == wait_s


_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "join", "sent", "over", "pass", "leave"]), st.integers(0, 7), st.booleans()
    ),
    max_size=120,
)


@given(
    actions=_ACTIONS,
    rates=st.tuples(*[st.one_of(st.none(), st.integers(1, 3))] * 2),
    limits=st.tuples(*[st.one_of(st.none(), st.integers(1, 4))] * 2),
    lines=st.integers(1, 6),
)
def test_whatever_happens_no_limit_is_passed_and_equals_keep_their_order(
    actions: list[tuple[str, int, bool]],
    rates: tuple[int | None, int | None],
    limits: tuple[int | None, int | None],
    lines: int,
) -> None:
    trunks = {
        name: TrunkLimits(max_calls=most, calls_per_second=rate)
        for name, most, rate in zip("ab", limits, rates, strict=True)
    }
    rig = Rig(trunks, lines=lines, creations=2)
    live: list[DialGrant] = []
    unsent: list[DialGrant] = []
    sent_s: dict[str, list[float]] = {"a": [], "b": []}
    created_s: list[float] = []
    waiting: list[tuple[str, bool]] = []
    for step, (action, number, ai) in enumerate(actions):
        match action:
            case "join":
                rig.join(str(step), *(("a", "b"), ("b", "a"))[number % 2], ai=ai)
                waiting.append((str(step), ai))
            case "sent" if unsent:
                each = unsent.pop(number % len(unsent))
                rig.pacer.sent(each.attempt_id, rig.now_s)
                sent_s[each.trunk].append(rig.now_s)
            case "over" if live:
                each = live.pop(number % len(live))
                unsent = [other for other in unsent if other is not each]
                rig.over(each.attempt_id)
            case "leave" if waiting:
                rig.pacer.leave(AttemptId(waiting.pop(number % len(waiting))[0]))
            case "pass":
                rig.now_s += 0.15 * number
        before = len(rig.granted)
        rig.grants()
        for each in rig.granted[before:]:
            ticket = next(entry for entry in waiting if entry[0] == each.attempt_id)
            earlier = waiting[: waiting.index(ticket)]
            passed_over = [attempt_id for attempt_id, is_ai in earlier if is_ai <= ticket[1]]
            assert not passed_over, "somebody who needs no more was first"
            waiting.remove(ticket)
            live.append(each)
            unsent.append(each)
            created_s += [rig.now_s] * ticket[1]
        assert len(live) + rig.free == lines
        for name, cap in trunks.items():
            assert cap.max_calls is None or rig.pacer.calls(name) <= cap.max_calls
    for name, times in sent_s.items():
        _assert_rate(times, trunks[name].calls_per_second)
    _assert_rate(created_s, 2)


def _assert_rate(times_s: list[float], limit: int | None) -> None:
    """In no window of one second are there more than ``limit``."""
    times_s = sorted(times_s)
    for first, beyond in zip(times_s, times_s[limit or len(times_s) :], strict=False):
        assert beyond - first >= 1.0 - 1e-9
