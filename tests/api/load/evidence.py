"""What a run of three AI calls would have gathered, made up."""

from __future__ import annotations

from typing import Any

import numpy as np

from api.load.caller import PlacedCall
from api.load.plan import Plan
from api.load.processes import Usage
from api.load.run import Evidence, Sample
from api.load.signalling import Signalling
from tests.api.load.traces import FRAME_NS, START_NS, silent, stream

MS = 1_000_000
LASTS_NS = 200 * FRAME_NS


def evidence(*, plain: bool = False) -> Evidence:
    """Three calls of 4 s, all well, at the same moment; the engine took 0.06 s of CPU meanwhile."""
    calls = range(3)
    media = [silent(stream(200, port=5000 + 2 * it, ssrc=it), range(5)) for it in calls]
    return Evidence(
        plan=Plan(calls=3, cps=100, seconds=4, plain=plain),
        began_ns=START_NS - 200 * MS,
        samples=[sample(second) for second in range(5)],
        calls=[placed(it) for it in calls],
        outcomes={"completed: caller-hangup": 3},
        driver_late_ms=[0.1, 0.2, 0.3],
        signalling={f"CA{it}": signalling(it) for it in calls},
        packets=np.concatenate(media),
        agent={"talks": [] if plain else [talk(it) for it in calls], "faults": [], "late_p99_ms": 1.0},
        pss_kb={"worker": 9 * 1024, "control": 50 * 1024},
        pss_calls=3,
        leaks={"lines": 0, "processes": 0},
    )


def sample(second: int) -> Sample:
    return Sample(
        at_ns=START_NS - 200 * MS + second * 10**9,
        after_s=second,
        live=3,
        placed=3,
        usage={"worker": Usage(processes=1, cpu_s=0.02 * second, switches=100 * second, descriptors=20)},
        kit_cpu_s={"driver": 0.01 * second},
        rtp={"packets": 150, "streams": 3, "spacing_p99_ms": 1.0},
        agent={"talking": 3, "loop_p50_ms": 20.0},
    )


def placed(number: int) -> PlacedCall:
    posted_ns = START_NS - 150 * MS
    record = {"status": "completed", "ended": {"cause": "caller-hangup"}, "media": {"underruns": 0}}
    return PlacedCall(
        name=str(number),
        posted_ns=posted_ns,
        answered_ns=posted_ns + 4 * MS,
        http_status=200,
        id=f"id{number}",
        sip_call_id=f"CA{number}",
        record=record,
    )


def signalling(number: int) -> Signalling:
    return Signalling(
        invite_ns=START_NS - 140 * MS,
        media_port=5000 + 2 * number,
        ringing_ns=START_NS - 138 * MS,
        answered_ns=START_NS - 10 * MS + number * MS,
        bye_ns=START_NS + LASTS_NS,
    )


def talk(number: int) -> dict[str, Any]:
    return {
        "call": str(number),
        "sentences": 1,
        "clears_ns": [],
        "clicks_ns": [START_NS, START_NS + 10],
        "loops_ms": [20.0, 30.0],
        "frames_heard": 200,
        "ended_ns": START_NS + LASTS_NS,
    }
