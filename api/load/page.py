"""The report as one HTML page: the figures, and plots as inline SVG; nothing is fetched, no script runs."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("svg")
_INK, _SERIES, _SOFT = "#777777", "#1f77b4", "#ff7f0e"
_STYLE: Final[Any] = {
    "svg.fonttype": "none",  # text stays text: it follows the page's font and can be searched
    "svg.hashsalt": "trunkline",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.25,
    "text.color": _INK,
}
"""Grey ink is readable on white and on black: the page follows the reader's theme, its plots are transparent."""
_CSS: Final = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #ffffff; --soft: #6b6b6b; --line: #d8d8d8; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181b; --soft: #a0a0a0; --line: #3a3d42; --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.under { color: var(--soft); margin-top: .2rem; } p.bad { color: var(--bad); font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; font-weight: 400; }
th { color: var(--soft); } td:first-child, th:first-child { text-align: left; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(27rem, 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft) !important; font-family: inherit; }
details pre { overflow-x: auto; font-size: .8rem; }
"""
_PERCENTILES: Final = ("p50", "p95", "p99", "max")
_TIMES: Final = {
    ("setup_ms", "post"): "POST answered",
    ("setup_ms", "post_to_invite"): "POST → INVITE",
    ("setup_ms", "invite_to_180"): "INVITE → 180",
    ("setup_ms", "200_to_rtp"): "200 → first RTP",
    ("setup_ms", "200_to_agent_audio"): "200 → agent's first audio",
    ("media", "spacing_error_ms"): "RTP spacing error",
    ("media", "gaps_ms"): "gaps in the agent's speech",
    ("media", "loop_ms"): "agent → RTP → echo → agent",
    ("media", "clear_to_silence_ms"): "clear → silent RTP",
}


def page(report: Mapping[str, Any]) -> str:
    """The whole document."""
    plan, machine = report["plan"], report["machine"]
    kind = "plain" if plan["plain"] else "AI"
    title = f"{plan['calls']} {kind} calls, {plan['cps']:g} a second, for {plan['seconds']:g} s"
    under = f"{report['at']} · commit {machine['commit']} · {machine['cores']} × {machine['cpu']} · {machine['kernel']}"
    doubts = "".join(f'<p class="bad">Doubt: {html.escape(doubt)}.</p>' for doubt in report["far_end"]["doubts"])
    plots = "".join(f"<figure>{plot}</figure>" for plot in _plots(report))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>{_CSS}</style>'
        f'</head><body><h1>{html.escape(title)}</h1><p class="under">{html.escape(under)}</p>{doubts}'
        f'<div class="plots">{plots}</div>'
        f"<h2>Times, in ms</h2>{_table(('', *_PERCENTILES, 'samples'), _time_rows(report))}"
        f"<h2>Calls, audio, cost</h2>{_table(('', ''), _facts(report))}"
        f"<details><summary>All, as JSON</summary><pre>{html.escape(json.dumps(report, indent=1))}</pre></details>"
        "</body></html>\n"
    )


def growth_plot(growth: Mapping[str, Any]) -> str:
    """CPU per call over the calls at once (``api.load.growth``), as an SVG document."""
    runs = growth["runs"]

    def draw(axes: Axes) -> None:
        for kind, style in (("all", "o-"), ("worker", "o--"), ("control", "o:")):
            shares = [100 * (run["cpu"][kind] or 0) for run in runs]
            axes.plot([run["calls"] for run in runs], shares, style, label=kind)
        axes.set(xlabel="AI calls at once", ylabel="% of a core per call", ylim=(0, None))
        axes.grid(axis="y")
        axes.legend(frameon=False)

    return _svg(f"CPU per AI call, 8 kHz, {growth['machine']['cores']} × {growth['machine']['cpu']}", draw)


def _plots(report: Mapping[str, Any]) -> Iterable[str]:
    series = report["series"]
    times_s = series["t_s"]

    def line(name: str, label: str, colour: str = _SERIES) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            axes.plot(times_s, series[name], color=colour, linewidth=2)
            axes.set(xlabel="seconds", ylabel=label, ylim=(0, None))

        return draw

    yield _svg("Calls up", line("live", "calls"))
    yield _svg("RTP spacing error at the far end, p99 of each second", line("spacing_p99_ms", "ms", _SOFT))
    yield _svg("The engine's CPU", line("cpu_cores", "cores"))
    yield _svg("Times: p50, p95, p99, most", lambda axes: _draw_times(axes, report))
    if shares := report["cost"].get("cpu_s_per_call_s"):
        kinds = {kind: share for kind, share in shares.items() if share is not None and kind != "all"}
        yield _svg("CPU per call, by process", lambda axes: _draw_shares(axes, kinds))
    causes = report["outcome"]["by_cause"]
    yield _svg("How the calls ended", lambda axes: _bars(axes, list(causes), list(causes.values()), "calls"))


def _draw_times(axes: Axes, report: Mapping[str, Any]) -> None:
    rows = [(text, spread) for text, spread in _spreads(report) if spread["n"]][::-1]
    for height, (_, spread) in enumerate(rows):
        axes.plot([spread["p50"], spread["max"]], [height, height], color=_INK, linewidth=1, alpha=0.6)
        for name, size in (("p50", 9), ("p95", 6), ("p99", 4)):
            axes.plot(spread[name], height, "o", color=_SERIES, markersize=size)
        axes.plot(spread["max"], height, "|", color=_SOFT, markersize=10)
    axes.set(yticks=range(len(rows)), yticklabels=[text for text, _ in rows], xlabel="ms", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="x")


def _draw_shares(axes: Axes, shares: Mapping[str, float]) -> None:
    _bars(axes, list(shares), [100 * share for share in shares.values()], "% of a core per call")


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], label: str) -> None:
    bars = axes.barh(names[::-1], values[::-1], color=_SERIES, height=0.6)
    axes.bar_label(bars, fmt="%.3g", padding=3)
    axes.set(xlabel=label)
    axes.set_ylim(-0.6, max(2.4, len(names) - 0.4))
    axes.margins(x=0.15)


def _svg(title: str, draw: Callable[[Axes], None]) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # Ids must differ between the plots of one page.
    prefix = re.sub(r"\W", "", title)
    element = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}-", out.getvalue()[out.getvalue().index("<svg") :])
    return re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL).replace(
        "<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1
    )


def _spreads(report: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, float]]]:
    return ((text, report[part][name]) for (part, name), text in _TIMES.items())


def _time_rows(report: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    for text, spread in _spreads(report):
        if spread["n"]:
            yield text, *(f"{spread[it]:.1f}" for it in _PERCENTILES), str(spread["n"])


def _facts(report: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    media, cost, outcome = report["media"], report["cost"], report["outcome"]
    yield "calls placed, most at once", f"{outcome['placed']}, {outcome['most_at_once']}"
    yield "RTP packets received, lost", f"{media['packets_received']}, {media['packets_lost']}"
    yield "one-way calls", str(media["one_way_calls"])
    if media["clarity_db"]["n"]:
        yield (
            "SNR of the agent's tone, p50 and worst",
            f"{media['clarity_db']['p50']} and {media['clarity_db']['min']} dB",
        )
    if cost:
        yield "workers' memory per call (PSS)", f"{cost['pss_mb_per_call']} MB"
        yield "context switches per call-second", str(cost["switches_per_call_s"])
    yield "left over", ", ".join(f"{name} {count}" for name, count in outcome["leaks"].items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cells(values: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"
