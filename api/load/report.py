"""The report of a run, made from its evidence: one JSON document whose members keep their names.

``SCHEMA`` is raised when a member changes its meaning or is removed; new members may be added at any time.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from api.load.caller import PlacedCall
from api.load.machine import machine
from api.load.media import Stream, spread, streams, together
from api.load.processes import Usage
from api.load.run import Evidence, Sample
from api.load.signalling import Signalling
from api.load.sipp import keeps_its_media

SCHEMA: Final = 1
_NS_PER_MS: Final = 1e6
_PROBLEMS: Final = 5
_SHORTEST_JUDGED_NS: Final = 1_000_000_000
"""A shorter call is not judged for being one-way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, with the notes of all sides."""

    placed: PlacedCall
    signalling: Signalling | None
    stream: Stream | None
    talk: Mapping[str, Any] | None

    @property
    def answered_ns(self) -> int:
        return self.signalling.answered_ns if self.signalling else 0

    def until_ns(self, otherwise_ns: int) -> int:
        """The time of its BYE, or ``otherwise_ns`` without one."""
        return (self.signalling.bye_ns if self.signalling else 0) or otherwise_ns


def make_report(evidence: Evidence) -> dict[str, Any]:
    """The whole document, ready for JSON."""
    calls = match(evidence)
    end_ns = evidence.samples[-1].at_ns if evidence.samples else evidence.began_ns
    return {
        "schema": SCHEMA,
        "at": datetime.fromtimestamp(evidence.began_ns / 1e9, UTC).isoformat(timespec="seconds"),
        "plan": evidence.plan.render(),
        "machine": machine(),
        "setup_ms": setup_ms(calls),
        "media": media(calls, plain=evidence.plan.plain, end_ns=end_ns),
        "cost": cost(evidence, calls),
        "outcome": {
            "placed": len(calls),
            "answered_per_s": answered_per_s(calls),
            "most_at_once": max((sample.live for sample in evidence.samples), default=0),
            "by_cause": dict(evidence.outcomes),
            "problems": problems(evidence.calls),
            "invites_resent": sum(call.signalling.invites - 1 for call in calls if call.signalling),
            "complaints": len(evidence.complaints),
            "leaks": evidence.leaks,
        },
        "far_end": far_end(evidence),
        "series": series(evidence),
    }


def match(evidence: Evidence) -> list[Call]:
    """Each call with its dialog (by Call-ID), its RTP stream (by the offered port and time) and its agent's log."""
    talks = {talk["call"]: talk for talk in evidence.agent.get("talks", ())}
    by_port: dict[int, list[Stream]] = defaultdict(list)
    for stream in streams(evidence.packets):
        by_port[stream.port].append(stream)
    calls = []
    for placed in evidence.calls:
        signalling = evidence.signalling.get(placed.sip_call_id)
        found = _stream_of(signalling, by_port[signalling.media_port]) if signalling is not None else None
        calls.append(Call(placed=placed, signalling=signalling, stream=found, talk=talks.get(placed.name)))
    return calls


def _stream_of(signalling: Signalling, of_port: Sequence[Stream]) -> Stream | None:
    """The first stream that began between INVITE and BYE: ports serve one call after another."""
    until_ns = signalling.bye_ns or math.inf
    return next((it for it in of_port if signalling.invite_ns <= it.first_ns <= until_ns), None)


def setup_ms(calls: Sequence[Call]) -> dict[str, Any]:
    """The times between the steps of the set-up."""
    posts = [(call.placed.answered_ns - call.placed.posted_ns) / _NS_PER_MS for call in calls if call.placed.id]
    known = [(call, call.signalling) for call in calls if call.signalling is not None]
    answered = [(call, it) for call, it in known if it.answered_ns]
    audio = [(call.stream.first_loud_ns(), it.answered_ns) for call, it in answered if call.talk and call.stream]
    return {
        "post": spread(posts),
        "post_to_invite": _steps((call.placed.posted_ns, it.invite_ns) for call, it in known),
        "invite_to_180": _steps((it.invite_ns, it.ringing_ns) for _, it in known),
        "180_to_200": _steps((it.ringing_ns, it.answered_ns) for _, it in known),
        "200_to_rtp": _steps((it.answered_ns, call.stream.first_ns) for call, it in answered if call.stream),
        "200_to_agent_audio": _steps((answer_ns, loud_ns or 0) for loud_ns, answer_ns in audio),
    }


def media(calls: Sequence[Call], *, plain: bool, end_ns: int) -> dict[str, Any]:
    """The quality of the audio at the far ends."""
    heard = [call.stream for call in calls if call.stream is not None]
    talks = [call.talk for call in calls if call.talk is not None]
    received, lost = sum(it.received for it in heard), sum(it.lost for it in heard)
    gaps = together(it.gaps_ms() for it in heard) if not plain else np.zeros(0)
    clears = ((call.stream, at) for call in calls if call.stream and call.talk for at in call.talk["clears_ns"])
    silences = [(at, stream.silent_after_ns(at)) for stream, at in clears]
    return {
        "streams": len(heard),
        "packets_received": received,
        "packets_sent_back": sum(it.echoed for it in heard),
        "packets_lost": lost,
        "spacing_error_ms": spread(together(it.spacing_ms() for it in heard)),
        "worst_call_spacing_p99_ms": max((float(np.percentile(s, 99)) for s in _spacings(heard)), default=0.0),
        "gaps_ms": spread(gaps),
        "gap_share": round(float(gaps.sum()) / 1000 / max(1e-9, sum(_speech_s(it) for it in heard)), 6),
        "one_way_calls": sum(one_way(call, plain=plain, end_ns=end_ns) for call in calls),
        "loop_ms": spread([ms for talk in talks for ms in talk["loops_ms"]]),
        "clicks_lost": sum(len(talk["clicks_ns"]) - len(talk["loops_ms"]) for talk in talks),
        "clear_to_silence_ms": _steps((at, silent or 0) for at, silent in silences),
        "clarity_db": spread(together(it.clarity_db() for it in heard), (1, 5, 50)),
        "engine_underruns": sum(call.placed.record.get("media", {}).get("underruns", 0) for call in calls),
    }


def one_way(call: Call, *, plain: bool, end_ns: int) -> bool:
    """Whether one side heard nothing of a call that was answered for a second or more."""
    if not call.answered_ns or call.until_ns(end_ns) - call.answered_ns < _SHORTEST_JUDGED_NS:
        return False
    if call.stream is None or plain:
        return call.stream is None
    if call.talk is None or call.stream.first_loud_ns() is None:
        return True
    return not call.talk["frames_heard"] or (len(call.talk["clicks_ns"]) > 1 and not call.talk["loops_ms"])


def cost(evidence: Evidence, calls: Sequence[Call]) -> dict[str, Any]:
    """CPU per call-second and memory while all calls were up; empty without the engine's processes."""
    window = _window(evidence)
    if window is None:
        return {}
    first, last = window
    call_s = sum(_overlap_s(call, first.at_ns, last.at_ns) for call in calls)
    used = {kind: last.usage[kind] - first.usage.get(kind, Usage()) for kind in last.usage}
    per_call_s = {kind: round(usage.cpu_s / call_s, 6) if call_s else None for kind, usage in used.items()}
    total_s = sum(usage.cpu_s for usage in used.values())
    weighed = evidence.pss_calls or math.nan
    return {
        "window_s": round((last.at_ns - first.at_ns) / 1e9, 3),
        "call_seconds": round(call_s, 3),
        "cpu_s_per_call_s": {**per_call_s, "all": round(total_s / call_s, 6) if call_s else None},
        "switches_per_call_s": round(sum(it.switches for it in used.values()) / call_s, 2) if call_s else None,
        "pss_mb": {kind: round(kb / 1024, 2) for kind, kb in evidence.pss_kb.items()},
        "idle_pss_mb": {kind: round(kb / 1024, 2) for kind, kb in evidence.idle_pss_kb.items()},
        "pss_mb_per_call": round(evidence.pss_kb.get("worker", 0) / 1024 / weighed, 3) if evidence.pss_calls else None,
        "processes": {kind: usage.processes for kind, usage in last.usage.items()},
        "descriptors": {kind: usage.descriptors for kind, usage in last.usage.items()},
    }


def problems(placed: Iterable[PlacedCall]) -> list[str]:
    """The problems of the calls that failed, the most common first."""
    said = (
        call.problem or (call.record["ended"]["detail"] if call.record.get("status") == "failed" else "")
        for call in placed
    )
    return [words for words, _ in Counter(words for words in said if words).most_common(_PROBLEMS)]


def answered_per_s(calls: Sequence[Call]) -> float | None:
    """Calls answered between the first answer and the last; None for fewer than two."""
    times = sorted(call.answered_ns for call in calls if call.answered_ns)
    took_s = (times[-1] - times[0]) / 1e9 if times else 0.0
    return round((len(times) - 1) / took_s, 3) if took_s else None


def far_end(evidence: Evidence) -> dict[str, Any]:
    """The figures of the measuring side itself, and the reasons to doubt it."""
    late_ms = (evidence.packets["echoed_ns"] - evidence.packets["at_ns"]) / _NS_PER_MS
    facts = {
        "kernel_drops": evidence.kernel_drops,
        "echo_ms": spread(late_ms),
        "agent_late_p99_ms": round(evidence.agent.get("late_p99_ms", 0.0), 3),
        "driver_late_ms": spread(evidence.driver_late_ms),
        "cpu_cores": _kit_cores(evidence),
        "agent_faults": evidence.agent.get("faults", []),
        "sipp_complaints": evidence.complaints[:5],
    }
    doubts = [
        f"the kernel dropped {evidence.kernel_drops} packets at the far end" if evidence.kernel_drops else "",
        "the far end echoes late: the loop times are its own" if facts["echo_ms"].get("p99", 0) > 10 else "",
        "the simulated Ultravox runs late: loop times and first audio are its own"
        if facts["agent_late_p99_ms"] > 20
        else "",
        "the scenario names no [media_port]: its audio was not measured"
        if keeps_its_media(evidence.plan.scenario_file())
        else "",
        "calls were placed late: this machine has no CPU left" if facts["driver_late_ms"].get("p99", 0) > 100 else "",
    ]
    return {**facts, "doubts": [doubt for doubt in doubts if doubt]}


def series(evidence: Evidence) -> dict[str, list[float]]:
    """The run second by second."""
    samples = evidence.samples
    pairs = list(itertools.pairwise(samples))
    return {
        "t_s": [round((now.at_ns - evidence.began_ns) / 1e9, 2) for _, now in pairs],
        "live": [now.live for _, now in pairs],
        "cpu_cores": [round(_cores(before, now), 4) for before, now in pairs],
        "spacing_p99_ms": [round(now.rtp.get("spacing_p99_ms", 0.0), 3) for _, now in pairs],
        "packets_per_s": [now.rtp.get("packets", 0) for _, now in pairs],
    }


def _kit_cores(evidence: Evidence) -> dict[str, float]:
    """The share of a core that each process of the load kit used, from the first sample to the last."""
    first, last = evidence.samples[0], evidence.samples[-1]
    took_s = max(1e-9, (last.at_ns - first.at_ns) / 1e9)
    return {name: round((last.kit_cpu_s[name] - first.kit_cpu_s[name]) / took_s, 4) for name in first.kit_cpu_s}


def _window(evidence: Evidence) -> tuple[Sample, Sample] | None:
    """The samples at which all calls were up and at which no more were placed."""
    plan, began_ns = evidence.plan, evidence.began_ns
    since_ns, until_ns = began_ns + plan.ramp_s * 1e9, began_ns + plan.seconds * 1e9
    inside = [it for it in evidence.samples if since_ns <= it.at_ns <= until_ns and it.usage]
    return (inside[0], inside[-1]) if len(inside) > 1 else None


def _overlap_s(call: Call, since_ns: int, until_ns: int) -> float:
    if not call.answered_ns:
        return 0.0
    return max(0.0, (min(call.until_ns(until_ns), until_ns) - max(call.answered_ns, since_ns)) / 1e9)


def _cores(before: Sample, now: Sample) -> float:
    used_s = sum(it.cpu_s for it in now.usage.values()) - sum(it.cpu_s for it in before.usage.values())
    return used_s / ((now.at_ns - before.at_ns) / 1e9)


def _steps(pairs: Iterable[tuple[int, int]]) -> Mapping[str, float]:
    """The times between two moments in ms, where both are known."""
    return spread([(then - since) / _NS_PER_MS for since, then in pairs if since and then])


def _spacings(heard: Iterable[Stream]) -> Iterator[Any]:
    return (values for values in (it.spacing_ms() for it in heard) if len(values))


def _speech_s(stream: Stream) -> float:
    return float(stream.packets["speech"].sum()) / 50
