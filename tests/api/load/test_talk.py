"""The agent of a load call, without its call: what it counts as a click that did not come back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from api.load import talk
from api.load.talk import Talk, tone


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still."""
    clock = SimpleNamespace(now_ns=10**18)
    monkeypatch.setattr(talk, "time", SimpleNamespace(time_ns=lambda: clock.now_ns))
    return clock


def a_talk() -> Talk:
    conversation: Any = SimpleNamespace(
        settings=SimpleNamespace(output_hz=8000),
        agent=SimpleNamespace(speech=SimpleNamespace(say=lambda utterance: None)),
        messages=SimpleNamespace(put=lambda pcm: None),
    )
    return Talk(conversation, lambda: None, "call")


async def test_click_that_came_back_timed_the_loop(clock: SimpleNamespace) -> None:
    it = a_talk()
    it._click()
    clock.now_ns += 30_000_000
    it._hear(tone(1500, 8000, 0.02, 12_000), 0.0)
    it.stop()
    assert (len(it.log.clicks_ns), it.log.loops_ms) == (1, [30.0])


@pytest.mark.parametrize(("after_ms", "counted"), [(30, 0), (499, 0), (500, 1), (2000, 1)])
async def test_click_is_lost_only_when_the_call_left_it_the_time_to_come_back(
    clock: SimpleNamespace, after_ms: int, counted: int
) -> None:
    it = a_talk()
    it._click()
    clock.now_ns += after_ms * 1_000_000
    it.stop()
    assert (len(it.log.clicks_ns), it.log.loops_ms) == (counted, [])
