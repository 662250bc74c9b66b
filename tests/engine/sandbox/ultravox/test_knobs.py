from __future__ import annotations

import pytest

from engine.sandbox.ultravox.knobs import CallKnobs, CreateReply, Knobs, Mischief, read_knobs, show_knobs


def test_knobs_come_as_camel_case_json() -> None:
    knobs = read_knobs(
        b'{"creates": [{"status": 429, "retryAfter": "1"}], "maxCalls": 5,'
        b' "call": {"thinkingS": 0, "mischief": [{"afterS": 2, "do": "close", "code": 4598}]}}'
    )
    assert knobs == Knobs(
        creates=(CreateReply(status=429, retry_after="1"),),
        max_calls=5,
        call=CallKnobs(thinking_s=0, mischief=(Mischief(after_s=2, do="close", code=4598),)),
    )
    assert show_knobs(knobs)["creates"][0]["retryAfter"] == "1"


@pytest.mark.parametrize("json", [b"{", b'{"nonsense": 1}', b'{"call": {"mischief": [{"afterS": 1, "do": "dance"}]}}'])
def test_wrong_knobs_are_refused(json: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        read_knobs(json)


def test_replies_are_used_up_one_by_one() -> None:
    busy = CreateReply(status=503)
    first, knobs = Knobs(creates=(busy,)).next_create()
    second, _ = knobs.next_create()
    assert (first, second) == (busy, CreateReply())
