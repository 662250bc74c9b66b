from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.guard.quota import Quota


def test_window_slides_no_period_ever_holds_more_than_the_limit() -> None:
    quota = Quota(2, 60)
    for at_s, left in [(0, 2), (59, 1), (59.9, 0), (60, 1), (60, 0), (118, 0), (119, 1)]:
        assert quota.left("a", at_s) == left, at_s
        if left:
            quota.use("a", 1, at_s)


def test_wait_is_until_the_oldest_use_that_counts_ends_to() -> None:
    quota = Quota(2, 60)
    first = quota.use("a", 1, 0)
    quota.use("a", 1, 10)
    assert quota.left("a", 20) == 0
    assert quota.free_in_s("a", 20) == 40
    first.settle(0)
    assert quota.left("a", 20) == 1
    assert quota.free_in_s("a", 20) == 50
    assert quota.free_in_s("nobody", 20) is None


def test_use_is_settled_with_what_it_came_to_and_not_after_its_time() -> None:
    quota = Quota(600, 60)
    early, late = quota.use("a", 300, 0), quota.use("a", 300, 30)
    assert quota.left("a", 30) == 0
    late.settle(10)
    assert quota.left("a", 30) == 290
    assert quota.left("a", 60) == 590
    early.settle(200)
    assert quota.left("a", 60) == 590


def test_cap_on_what_is_at_once_frees_by_settling_alone() -> None:
    quota = Quota(1)
    use = quota.use("a", 1, 0)
    assert quota.left("a", 1e9) == 0
    assert quota.free_in_s("a", 1e9) is None
    assert quota.left("b", 1e9) == 1
    use.settle(0)
    assert quota.left("a", 1e9) == 1


def test_subjects_that_stay_away_are_forgotten() -> None:
    quota = Quota(5, 60)
    for n in range(1000):
        quota.use(f"subject {n}", 1, n)
    assert len(quota._uses) == len(quota._used) == 60


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from("ab"), st.integers(1, 3))))
def test_whatever_comes_every_window_holds_at_most_the_limit(steps: list[tuple[float, str, int]]) -> None:
    quota, now_s, used = Quota(5, 60), 0.0, list[tuple[float, str, int]]()
    for pause_s, subject, amount in steps:
        now_s += pause_s
        held = sum(n for at_s, who, n in used if who == subject and at_s > now_s - 60)
        assert quota.left(subject, now_s) == 5 - held
        if amount <= 5 - held:
            quota.use(subject, amount, now_s)
            used.append((now_s, subject, amount))
