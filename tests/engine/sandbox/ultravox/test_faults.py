from __future__ import annotations

from engine.sandbox.ultravox.faults import ClientFaults


def test_faults_of_a_kind_are_counted_and_the_first_is_described() -> None:
    faults = ClientFaults(since=10.0)
    faults.note("audio-gap", 12.5, "300 ms")
    faults.note("audio-gap", 14.0, "900 ms")
    faults.note("odd-length", 15.0)
    assert faults.counts == {"audio-gap": 2, "odd-length": 1}
    assert faults.render()[0] == {"kind": "audio-gap", "count": 2, "firstDetail": "300 ms", "firstAtS": 2.5}


def test_long_detail_is_cut() -> None:
    faults = ClientFaults()
    faults.note("malformed-json", 0.0, "x" * 10_000)
    assert len(faults.render()[0]["firstDetail"]) == 200
