"""The display of a load run: live figures during the run, the whole table at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from api.load.run import Sample

_COLUMNS = ("p50", "p95", "p99", "max")


def live_table(sample: Sample, progress: RenderableType) -> Group:
    """The newest figures under the bar."""
    table = Table(box=box.SIMPLE, show_header=False)
    rtp, agent = sample.rtp, sample.agent
    table.add_row("calls up, placed", f"{sample.live}, {sample.placed}")
    table.add_row("RTP packets/s at the far end", f"{rtp.get('packets', 0)} of {rtp.get('streams', 0)} streams")
    table.add_row("spacing error p99", f"{rtp.get('spacing_p99_ms', 0.0):.1f} ms")
    if agent:
        table.add_row("agents talking, loop p50", f"{agent.get('talking', 0)}, {agent.get('loop_p50_ms', 0.0):.0f} ms")
    table.add_row("engine's CPU so far", f"{sum(it.cpu_s for it in sample.usage.values()):.1f} s")
    return Group(progress, table)


def final_table(report: Mapping[str, Any]) -> Group:
    """Every figure of the report."""
    times = Table("ms", *_COLUMNS, "samples", box=box.SIMPLE)
    for column in times.columns[1:]:
        column.justify = "right"
    for name, spread in _spreads(report):
        if spread["n"]:
            times.add_row(name, *(f"{spread[it]:.1f}" if it in spread else "" for it in _COLUMNS), str(spread["n"]))
    facts = Table(box=box.SIMPLE, show_header=False)
    for name, value in _facts(report):
        facts.add_row(name, value)
    return Group(times, facts)


def _spreads(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, float]]]:
    names = {
        "post": "POST answered",
        "post_to_invite": "POST → INVITE",
        "invite_to_180": "INVITE → 180",
        "180_to_200": "180 → 200 (the far end's)",
        "200_to_rtp": "200 → first RTP",
        "200_to_agent_audio": "200 → agent's first audio",
    }
    yield from ((text, report["setup_ms"][name]) for name, text in names.items())
    media = report["media"]
    yield "RTP spacing error", media["spacing_error_ms"]
    yield "gaps in the agent's speech", media["gaps_ms"]
    yield "loop WebSocket → RTP → echo → back", media["loop_ms"]
    yield "clear → silent RTP", media["clear_to_silence_ms"]


def _facts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    media, cost, outcome = report["media"], report["cost"], report["outcome"]
    yield "calls placed, most at once", f"{outcome['placed']}, {outcome['most_at_once']}"
    yield from ((f"  {cause}", str(count)) for cause, count in outcome["by_cause"].items())
    yield from (("  problem", problem) for problem in outcome["problems"])
    yield "RTP packets received, lost", f"{media['packets_received']}, {media['packets_lost']}"
    yield "one-way calls", str(media["one_way_calls"])
    if media["clarity_db"]["n"]:
        yield "SNR of the agent's tone, p50, worst", f"{media['clarity_db']['p50']}, {media['clarity_db']['min']} dB"
        yield "clicks that never came back", str(media["clicks_lost"])
    if cost:
        shares = {kind: share for kind, share in cost["cpu_s_per_call_s"].items() if share is not None}
        yield "CPU of a core, per call", ", ".join(f"{kind} {share:.2%}" for kind, share in shares.items())
        yield "memory of the workers (PSS), per call", f"{cost['pss_mb_per_call']} MB"
        yield "context switches per call-second", str(cost["switches_per_call_s"])
    kit = report["far_end"]["cpu_cores"]
    yield "CPU of the load kit itself", ", ".join(f"{name} {share:.0%}" for name, share in kit.items())
    yield "left over", ", ".join(f"{name} {count}" for name, count in outcome["leaks"].items())
    yield from (("DOUBT", doubt) for doubt in report["far_end"]["doubts"])
