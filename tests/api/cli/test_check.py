from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from engine.config.file import load_config
from tests.api.cli.conftest import Trunkline

FULL = """
[sip]
ring_timeout = "30s"
[[trunks]]
name = "main"
uri = "sip:carrier.example;transport=tcp"
registrar = "sip:registrar.example"
username = "me"
password = "${PASSWORD}"
outbound_proxy = ["sip:proxy.example;lr"]
codecs = ["G722", "PCMA"]
[[trunks]]
name = "spare"
uri = "sips:other.example"
username = "you"
srtp = "required"
headers = { "X-Account" = 'a "b"' }
tls = { verify = false }
[ultravox]
api_key = "${KEY}"
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")
    monkeypatch.setenv("KEY", "uvx-secret")


def test_sound_configuration_is_printed_with_stars_for_its_secrets(trunkline: Trunkline) -> None:
    Path("own.toml").write_text(FULL)
    code, out, err = trunkline("check", "--config", "own.toml")
    assert code == 0
    assert err == ""
    assert "hunter2" not in out
    assert "uvx-secret" not in out
    assert 'password = "***"' in out
    assert out.splitlines()[0] == "# own.toml"
    assert out.splitlines()[-6:] == [
        "API: http://127.0.0.1:8080, calls and keys kept in sqlite:///trunkline.db.",
        "Calls: at most 32 at once, in 10 workers; phones ring for 30 s.",
        "Guard: calls go to the country of the from number, which the client chooses (guard.countries), "
        "from any number (guard.callers), without quotas.",
        "Trunk main: INVITEs to sip:carrier.example;transport=tcp, through sip:proxy.example;lr, "
        "registered at sip:registrar.example as me, offering G722 PCMA.",
        "Trunk spare: INVITEs to sip:other.example;transport=tls, as you when challenged, "
        "TLS with the certificate NOT verified (tls.verify), offering PCMU PCMA G722, SRTP required.",
        "AI calls: through https://api.ultravox.ai, audio at the codec's own rate.",
    ]


def test_configured_guard_is_printed(trunkline: Trunkline) -> None:
    settings = '[guard]\ncountries = ["US", "CA"]\ncallers = ["+1415555*"]\nkey_minutes_per_day = 600\n'
    Path("own.toml").write_text(FULL + settings)
    told = "Guard: calls go to US, CA, from +1415555*, key_minutes_per_day = 600."
    assert told in trunkline("check", "--config", "own.toml")[1].splitlines()


def test_no_configuration_is_reported_as_sandbox_only(trunkline: Trunkline) -> None:
    code, out, _ = trunkline("check")
    assert code == 0
    assert out.startswith("# no file: the defaults\ntrunks = []\n\n[http]\n")
    assert out.splitlines()[-1].startswith("Trunks: none")


def test_trunk_without_agent_service_is_reported_to_place_plain_calls(trunkline: Trunkline) -> None:
    Path("trunkline.toml").write_text('[[trunks]]\nname = "main"\nuri = "sip:carrier.example"\n')
    assert trunkline("check")[1].splitlines()[-1].endswith("plain calls work.")


def test_every_mistake_is_named_on_stderr_and_exits_with_2(trunkline: Trunkline) -> None:
    Path("trunkline.toml").write_text("[http]\nport = -1\n[sip]\nmax_cals = 1\n")
    code, out, err = trunkline("check")
    assert code == 2
    assert out == ""
    assert err.splitlines() == [
        "trunkline: trunkline.toml has 2 mistakes:",
        "  http.port: expected 0 or more, not -1",
        "  sip.max_cals: is no setting; did you mean max_calls?",
    ]


def test_printed_settings_are_a_file_that_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(FULL)
    config = load_config(path, {"PASSWORD": "***", "KEY": "***"})
    path.write_text(tomli_w.dumps(config.redacted()))
    assert tomllib.loads(path.read_text())["trunks"][1]["name"] == "spare"
    assert load_config(path, {}) == config
