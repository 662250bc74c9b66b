from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.api.cli.conftest import Trunkline

ROOT = Path(__file__).parents[3]
TRUNKLINE = [sys.executable, "-c", "from api.cli import main; main()"]


def test_missing_folder_is_reported_before_the_call(trunkline: Trunkline) -> None:
    code, _, err = trunkline("demo", "--out", "nowhere/demo.wav")
    assert code == 1
    assert err == "trunkline: There is no folder nowhere to leave the recording in.\n"


@pytest.mark.sip
def test_demo_leaves_both_voices_in_a_stereo_recording_and_nothing_else(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}  # the fork server is a separate Python
    ran = subprocess.run(
        [*TRUNKLINE, "demo"], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["trunkline-demo.wav"]
    with wave.open(str(tmp_path / "trunkline-demo.wav")) as recording:
        assert recording.getnchannels() == 2
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").reshape(-1, 2)
    assert np.abs(samples).max(axis=0).min() > 1000, "somebody is silent"
    for word in ("ringing", "answered", "Agent: ", "User: ", "completed"):
        assert word in ran.stdout
