from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.cli import bench
from api.load.plan import Plan
from api.load.report import make_report
from tests.api.cli.conftest import Trunkline
from tests.api.load.evidence import evidence


def test_two_benches_are_kept_and_compared(
    trunkline: Trunkline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(plan: Plan) -> dict[str, Any]:
        return make_report(evidence(plain=plan.plain))

    monkeypatch.setattr(bench, "measured", measured)
    assert trunkline("bench", "--compare")[0] == 1
    for _ in range(2):
        code, out, _ = trunkline("bench", "--repeats", "2")
        assert code == 0
        assert "CPU of a core per AI call, 100 calls, 8 kHz" in out
        assert "≤ 0.45" in out
    assert len((tmp_path / "bench" / "results.jsonl").read_text().splitlines()) == 2
    code, out, _ = trunkline("bench", "--compare")
    assert code == 0
    assert "1.00" in out
