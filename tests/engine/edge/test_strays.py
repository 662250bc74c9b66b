"""How much of what belongs to no call is read."""

from __future__ import annotations

import time

import pytest

from engine.edge import strays as module
from engine.edge.strays import Strays, call_id_of
from tests.engine.edge.test_edge import Rig, as_request
from tests.engine.edge.test_edge_faults import CONTACT, far

STRAY = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKa\r\nCall-ID: c\r\n\r\n"
OURS = STRAY.replace(b"Call-ID: c", b"i : ours")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("data", "call_id"),
    [
        (STRAY, "c"),
        (OURS, "ours"),
        (b"SIP/2.0 200\ncALL-id\t:  a@b \n\n", "a@b"),
        (b"SIP/2.0 200 OK\r\nInfo: x\r\nCall-Info: y\r\n\r\n", ""),
        (b"\nI:" * 3, ""),
        (b"", ""),
        (b"\ni" * 100_000, ""),
    ],
)
def test_the_call_id_is_found_without_reading_the_message(data: bytes, call_id: str) -> None:
    assert call_id_of(data).startswith(call_id)


def test_a_source_that_floods_us_is_cut_off_and_others_and_calls_are_not() -> None:
    clock = Clock()
    strays = Strays(lambda call_id: call_id == "ours", clock)
    read = 0
    for _ in range(20_000):
        clock.now += 1 / 20_000
        read += strays.may_read("192.0.2.1", STRAY)
        assert strays.may_read("192.0.2.1", OURS)
    assert module.BURST <= read <= module.BURST + module.EACH_S + 1
    assert strays.may_read("192.0.2.2", STRAY)
    clock.now += 5
    assert strays.may_read("192.0.2.1", STRAY)


def test_many_sources_share_a_limit_and_are_forgotten() -> None:
    strays = Strays(lambda _: False, Clock())
    read = sum(strays.may_read(f"192.0.{number // 250}.{number % 250}", STRAY) for number in range(10_000))
    assert read == module.ALL_BURST
    assert len(strays._left) <= module._MOST_SOURCES


@pytest.mark.parametrize("kind", ["OPTIONS", "INVITE with a To tag", "response", "nonsense"])
async def test_a_flood_of_an_admitted_source_takes_a_fraction_of_the_time_and_a_call_goes_on(kind: str) -> None:
    rig = Rig()
    await rig.answered(CONTACT)
    flood = []
    for number in range(10_000):
        fields = f"Via: SIP/2.0/UDP x;branch=z9hG4bK{number}\r\nFrom: <sip:b@x>;tag=b\r\nTo: <sip:a@x>;tag=t\r\n"
        fields += f"Call-ID: c{number}\r\n"
        flood.append(
            {
                "OPTIONS": f"OPTIONS sip:a SIP/2.0\r\n{fields}CSeq: 1 OPTIONS\r\n\r\n",
                "INVITE with a To tag": f"INVITE sip:a SIP/2.0\r\n{fields}CSeq: 1 INVITE\r\n\r\n",
                "response": f"SIP/2.0 200 OK\r\n{fields}CSeq: 1 INVITE\r\n\r\n",
                "nonsense": "x" * 300,
            }[kind].encode()
        )
    began_s = time.process_time()
    for data in flood:
        rig.edge.received(rig.flow, data)
    assert time.process_time() - began_s < 1.0
    assert len(rig.flow.sent) < 500
    await rig.network(far("BYE"))
    assert as_request(rig.link.last).method == "BYE"
