from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from api.load.engine_process import Ports, configuration, lines_of
from api.load.plan import Plan
from engine.config.file import load_config
from engine.config.settings import Config


@pytest.mark.parametrize("calls", [1, 100, 500])
def test_ports_of_a_run_do_not_meet_and_fit_into_what_is_asked_for(calls: int) -> None:
    ports = Ports(first=10_001, lines=lines_of(Plan(calls=calls)))
    kit = {ports.sipp, ports.sipp_control, *range(ports.sipp_media, ports.sipp_media + 4)}
    assert not kit & ports.engine
    assert len(ports.engine) == 1 + len(ports.rtp)
    assert max(ports.engine) < 10_001 + Ports.needed(ports.lines)


@pytest.mark.parametrize("plain", [False, True])
def test_configuration_is_one_that_the_engine_takes(tmp_path: Path, plain: bool) -> None:
    plan = Plan(calls=100, plain=plain, sample_rate=16000)
    settings = configuration(plan, Ports(first=10_001, lines=120), tmp_path, ("http://127.0.0.1:5080", "secret"))
    file = tmp_path / "trunkline.toml"
    file.write_text(tomli_w.dumps(settings))
    config: Config = load_config(file, {})
    assert tomllib.loads(file.read_text()) == settings
    assert config.trunks[0].uri == "sip:127.0.0.1:10002"
    assert (config.sip.max_calls, config.http.port) == (120, 0)
    assert bool(config.ultravox.api_key) is not plain
