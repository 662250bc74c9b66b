from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from api.load.page import page
from api.load.report import make_report
from tests.api.load.evidence import evidence

PLOTS = 6


class Shape(HTMLParser):
    """What of a page matters here."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.drawn: list[int] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "svg":
            self.drawn.append(0)
        elif tag == "path":
            self.drawn[-1] += 1
        self.scripts += tag == "script"
        self.ids += [given["id"] or ""] if "id" in given else []
        links = [given.get(name) or "" for name in ("src", "href", "xlink:href")]
        self.fetched += [link for link in links if link and not link.startswith(("#", "data:"))]


def test_page_has_its_plots_and_fetches_nothing() -> None:
    text = page(make_report(evidence()))
    shape = Shape(text)
    assert len(shape.drawn) == PLOTS
    assert min(shape.drawn) > 5
    assert (shape.fetched, shape.scripts) == ([], 0)
    assert len(set(shape.ids)) == len(shape.ids)
    assert not re.search(r"@import|url\((?!#)", text)


def test_plain_run_has_a_page_too_and_words_of_others_are_no_markup() -> None:
    report = make_report(evidence(plain=True))
    report["far_end"]["doubts"] = ["<script>alert(1)</script>"]
    shape = Shape(page(report))
    assert (shape.scripts, len(shape.drawn)) == (0, PLOTS)


def test_browser_shows_the_plots_without_a_complaint(tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        if os.environ.get("REQUIRE_SIP"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    file, shot = tmp_path / "load.html", tmp_path / "load.png"
    file.write_text(page(make_report(evidence())))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += ["--enable-logging=stderr", "--window-size=1100,1600", f"--screenshot={shot}", f"file://{file}"]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert "CONSOLE" not in seen.stderr
    assert shot.read_bytes().startswith(b"\x89PNG")
    assert shot.stat().st_size > 50_000  # an empty page is a tenth of it
