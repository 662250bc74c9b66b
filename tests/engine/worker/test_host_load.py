from __future__ import annotations

from pathlib import Path

import pytest

from engine.worker.host_load import HostLoad


def test_load_is_the_share_that_was_not_idle_since_the_last_look(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n")
    load = HostLoad(stat)
    stat.write_text("cpu  130 5 110 840 10 2 2 1 30 0\ncpu0 1 1 1 1\n")
    assert load.take() == pytest.approx(0.5)
    assert load.take() == 0.0


def test_a_machine_without_figures_counts_as_idle(tmp_path: Path) -> None:
    assert HostLoad(tmp_path / "none").take() == 0.0


def test_this_machine_has_figures() -> None:
    load = HostLoad()
    assert 0.0 <= load.take() <= 1.0
