"""Shows the SIPp matrix as a table when asked (``--sip-table``): each far end of each test, as its report comes in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from tests.sip import matrix

_PROPERTY = "far end"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sip-table", action="store_true", help="print the SIP far ends as a table")


@pytest.fixture(autouse=True)
def _far_ends(request: pytest.FixtureRequest) -> Iterator[None]:
    matrix.runs.clear()
    yield
    request.node.user_properties += [(_PROPERTY, [run.far_end, *run.statuses]) for run in matrix.runs]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--sip-table"):
        return
    reports = [report for kind in terminalreporter.stats.values() for report in kind if hasattr(report, "duration")]
    failed = {report.nodeid for report in reports if report.failed}
    seconds: Counter[str] = Counter()
    tests: defaultdict[str, set[str]] = defaultdict(set)
    statuses: defaultdict[str, set[int]] = defaultdict(set)
    for report in reports:
        seconds[report.nodeid] += report.duration
        for name, value in report.user_properties if report.when == "teardown" else ():
            if name == _PROPERTY:
                tests[value[0]].add(report.nodeid)
                statuses[value[0]].update(value[1:])
    terminalreporter.section("SIP far ends")
    line = "{:34} {:30.30} {:24} {:6} {:>5} {:>7}"
    terminalreporter.line(line.format("scenario", "RFC", "SIP codes", "", "tests", "seconds"))
    for far_end, nodes in sorted(tests.items()):
        section = matrix.rows()[far_end].section if far_end in matrix.rows() else ""
        codes = " ".join(map(str, sorted(statuses[far_end])))
        verdict = "FAILED" if failed & nodes else "passed"
        took_s = f"{sum(seconds[node] for node in nodes):.1f}"
        terminalreporter.line(line.format(far_end, section, codes, verdict, len(nodes), took_s))
