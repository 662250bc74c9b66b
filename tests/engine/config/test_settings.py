from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.config.file import find_config, load_config
from engine.config.settings import Config
from engine.config.trunk import TrunkConfig
from engine.errors import ConfigError
from tests.sip.certificates import Authority

THE_ISSUES_FILE = """
[http]
host = "127.0.0.1"
port = 8080
[store]
url = "sqlite:///trunkline.db"
[sip]
bind = "0.0.0.0"
port = 5060                    # all SIP
allow_from = []                # networks beside the trunks' own addresses
rtp_ports = "16000-17999"
public_address = ""            # what to advertise behind NAT
max_calls = 32
ring_timeout = "60s"
[[trunks]]
name = "main"
provider = "sip"               # shown as "provider" of plain calls
uri = "sip:sip.carrier.example;transport=udp"    # where INVITEs go
registrar = ""                 # e.g. "sip:sip.carrier.example"; set: register there
username = ""
password = "${TRUNK_PASSWORD}"
outbound_proxy = []
codecs = ["PCMU", "PCMA", "G722"]
[ultravox]
api_key = "${ULTRAVOX_API_KEY}"
base_url = "https://api.ultravox.ai"
sample_rate = "auto"           # or 8000, 16000, 24000, 48000
"""
ENVIRON = {"TRUNK_PASSWORD": "hunter2", "ULTRAVOX_API_KEY": "uvx-1"}
SAMPLES = Path(__file__).parents[2] / "sip-test-configs" / "trunks"
KEYS_IN_CLEAR = (
    "its keys would cross the network in clear: expected ;transport=tls in outbound_proxy or uri, "
    "or srtp_without_tls = true"
)
TRUNK = '[[trunks]]\nname = "main"\nuri = "sip:carrier.example"\n'


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str, environ: Mapping[str, str] = ENVIRON) -> Config:
    path = Path("given.toml")
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ)


def mistakes(text: str, environ: Mapping[str, str] = ENVIRON) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(text, environ)
    assert len(caught.value.mistakes) == len(dict(caught.value.mistakes)), "a key is complained about twice"
    return dict(caught.value.mistakes)


def test_documented_file_says_the_defaults_and_its_trunk() -> None:
    config = load(THE_ISSUES_FILE)
    assert config.sip == Config().sip
    assert config.http == Config().http
    assert config.store == Config().store
    assert config.trunks == (
        TrunkConfig(name="main", uri="sip:sip.carrier.example;transport=udp", password=config.trunks[0].password),
    )
    assert config.trunks[0].password.get_secret_value() == "hunter2"
    assert config.ultravox.api_key.get_secret_value() == "uvx-1"
    assert config.sip.ring_timeout_s == 60
    assert config.sip.allow_from == ()


def test_secrets_are_in_no_text_of_the_config() -> None:
    config = load(THE_ISSUES_FILE)
    for text in (repr(config), str(config), str(config.redacted()), repr(config.model_dump())):
        assert "hunter2" not in text
        assert "uvx-1" not in text
    assert config.redacted()["ultravox"]["api_key"] == "***"
    assert config.redacted()["sip"]["rtp_ports"] == "16000-17999"
    assert config.redacted()["sip"]["ring_timeout"] == "60s"


def test_option_wins_over_environment_wins_over_working_directory() -> None:
    assert find_config(None, {}) is None
    Path("trunkline.toml").write_text("")
    assert find_config(None, {}) == Path("trunkline.toml")
    assert find_config(None, {"TRUNKLINE_CONFIG": "a.toml"}) == Path("a.toml")
    assert find_config(Path("b.toml"), {"TRUNKLINE_CONFIG": "a.toml"}) == Path("b.toml")


def test_without_a_file_there_are_defaults_and_no_trunk() -> None:
    assert load_config(None, {}) == Config()
    assert Config().trunks == ()


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("90s", 90), ("2m", 120), ("0.5h", 1800)])
def test_duration_is_a_number_and_one_unit(text: str, seconds: float) -> None:
    assert load(f'[sip]\nring_timeout = "{text}"').sip.ring_timeout_s == seconds


@pytest.mark.parametrize(
    ("written", "read"),
    [("${A}", "one"), ("x${A}y${B}", "xoneytwo"), ("$${A}", "${A}"), ("$A", "$A"), ("${A}$${B}", "one${B}")],
)
def test_environment_variables_are_put_in_anywhere_in_a_string(written: str, read: str) -> None:
    config = load(TRUNK + f'password = "{written}"', {"A": "one", "B": "two"})
    assert config.trunks[0].password.get_secret_value() == read


PAGE = {
    '[http]\nport = "8080"': {"http.port": "expected a whole number"},
    "[http]\nport = 70000": {"http.port": "expected 65535 or less, not 70000"},
    "[http]\nport = true": {"http.port": "expected a whole number"},
    "http = 3": {"http": "expected a table of settings"},
    "[http]\nhost = 1": {"http.host": "expected a text in quotes"},
    '[store]\nurl = "trunkline.db"': {
        "store.url": "expected sqlite:/// and the path of a file, such as sqlite:///trunkline.db"
    },
    "[sip]\nlines_per_worker = 3": {"sip.lines_per_worker": "expected 4 or more, not 3"},
    "[sip]\nmax_calls = 0": {"sip.max_calls": "expected 1 or more, not 0"},
    '[sip]\nbind = "eth0"': {"sip.bind": "expected an IP address, not 'eth0'"},
    '[sip]\npublic_address = "here"': {"sip.public_address": "expected an IP address, not 'here'"},
    '[sip]\nrtp_ports = "5199-5062"': {
        "sip.rtp_ports": "expected a lower and a higher port between 1 and 65535, not 5199-5062"
    },
    '[sip]\nrtp_ports = "5062"': {"sip.rtp_ports": "expected two ports such as \"5062-5199\", not '5062'"},
    '[sip]\nallow_from = ["10.0.0.0/33"]': {
        "sip.allow_from[0]": "expected a network in CIDR such as \"203.0.113.0/24\", not '10.0.0.0/33'"
    },
    '[sip]\nrtp_ports = "16001-18000"': {
        "sip.rtp_ports": "expected an even first and an odd last port (RTP with its RTCP), not 16001-18000"
    },
    '[sip]\nrtp_ports = "16000-16125"': {
        "sip.rtp_ports": "126 ports are too few: max_calls needs 128, four for each call"
    },
    '[sip]\nrtp_ports = "4000-5061"': {"sip.rtp_ports": "4000-5061 includes sip.port 5060"},
    "[sip]\nmax_calls = 600": {
        "sip.rtp_ports": "2000 ports are too few: max_calls needs 2400, four for each call",
    },
    "[sip]\nring_timeout = 60": {"sip.ring_timeout": 'expected a time such as "60s", "2m" or "1h", not 60'},
    '[sip]\nring_timeout = "0s"': {"sip.ring_timeout": 'expected a time such as "60s", "2m" or "1h", not \'0s\''},
    '[sip]\nring_timeout = "1m30s"': {"sip.ring_timeout": 'expected a time such as "60s", "2m" or "1h", not \'1m30s\''},
    "[sip]\nring_timeout_s = 60": {"sip.ring_timeout_s": "is no setting; did you mean ring_timeout?"},
    '[webhooks]\nallow_private = "yes"': {"webhooks.allow_private": "expected true or false"},
    "[sips]": {"sips": "is no setting; did you mean sip?"},
    "[other]": {"other": "is no setting; there are http, store, sip, trunks, ultravox, webhooks, retention, guard"},
    "[ultravox]\napikey = 1": {"ultravox.apikey": "is no setting; did you mean api_key?"},
    "[ultravox]\napi_key = 1": {"ultravox.api_key": "expected a text in quotes"},
    '[ultravox]\napi_key = "a\\nb"': {"ultravox.api_key": "holds a line break or another control character"},
    "[ultravox]\nsample_rate = 11025": {
        "ultravox.sample_rate": "expected 'auto', 8000, 16000, 24000 or 48000, not 11025"
    },
    '[ultravox]\nbase_url = "ultravox"': {"ultravox.base_url": "expected a URL such as https://api.ultravox.ai"},
    '[ultravox]\nbase_url = "https://u:p@h/"': {
        "ultravox.base_url": "expected a URL such as https://api.ultravox.ai, without a user, ? and #"
    },
    '[ultravox]\nbase_url = "https://[::1"': {"ultravox.base_url": "expected a URL such as https://api.ultravox.ai"},
    '[ultravox]\nbase_url = "http://ultravox.example"': {
        "ultravox.base_url": "expected https: with http the API key would cross the network in clear"
    },
    '[guard]\ncountries = ["US", "UK"]': {
        "guard.countries": """expected ISO 3166-1 codes such as "US", or "*", not 'UK'; the United Kingdom is GB"""
    },
    '[guard]\ncallers = ["+1415555*", "0415"]': {
        "guard.callers[1]": """expected a number such as "+14155550100" or "+1415555*", not '0415'"""
    },
    "[guard]\nkey_calls_per_day = -1": {"guard.key_calls_per_day": "expected 0 or more, not -1"},
    '[guard]\nblocked_types = ["emergency"]': {
        "guard.blocked_types[0]": "expected 'premium-rate', 'shared-cost', 'personal', 'satellite', 'toll-free', "
        "'pager', 'universal' or 'voicemail', not 'emergency'"
    },
    "[[trunks]]": {"trunks[0].name": "is missing", "trunks[0].uri": "is missing"},
    TRUNK + 'pasword = "hunter2"': {"trunks[0].pasword": "is no setting; did you mean password?"},
    "\n".join(f'[[trunks]]\nname = "{n}"\nuri = "sip:c.example"\nprobe_interval = "9s"' for n in range(9)): {
        "trunks": "9 trunks have a registrar or a probe_interval; PJSIP has accounts for 8"
    },
    TRUNK + TRUNK: {"trunks": "every trunk needs its own name; 'main' is used twice"},
    TRUNK + 'registrar = "sip:carrier.example"': {"trunks[0].registrar": "registering needs a username beside it"},
    TRUNK + 'username = "50%off"': {"trunks[0].username": "has characters that are not allowed here"},
    TRUNK + 'username = "a\\r\\nb"': {"trunks[0].username": "has characters that are not allowed here"},
    TRUNK + 'srtp = "required"': {"trunks[0].srtp": KEYS_IN_CLEAR},
    '[[trunks]]\nname = "a"\nuri = "sips:c.example"\noutbound_proxy = ["sip:p.example"]\nsrtp = "optional"': {
        "trunks[0].srtp": KEYS_IN_CLEAR
    },
    TRUNK + "tls = { ca_file = '/nowhere/ca.pem' }": {
        "trunks[0].tls.ca_file": "/nowhere/ca.pem cannot be read: No such file or directory"
    },
    TRUNK + f"tls = {{ certificate = '{__file__}' }}": {
        "trunks[0].tls.private_key": "certificate and private_key go together"
    },
    TRUNK + f"tls = {{ certificate = '{__file__}', private_key = '{__file__}' }}": {
        "trunks[0].tls.private_key": f"is no key without passphrase for {__file__}: it may ask for a passphrase"
    },
    TRUNK + "tls = { cafile = '' }": {"trunks[0].tls.cafile": "is no setting; did you mean ca_file?"},
    TRUNK + "headers = { Via = 'x' }": {
        "trunks[0].headers": "Via is written by Trunkline itself and cannot be set here"
    },
    TRUNK + "callers = ['4155']": {
        "trunks[0].callers[0]": 'expected a number such as "+14155550100" or "+1415555*", not \'4155\''
    },
    TRUNK + "from_domain = 'a.example:5060'": {"trunks[0].from_domain": "has characters that are not allowed here"},
    TRUNK + 'display_name = "a\\nb"': {"trunks[0].display_name": "holds a line break or another control character"},
    "[sip]\ndscp_rtp = 64": {"sip.dscp_rtp": "expected 63 or less, not 64"},
    TRUNK + "codecs = []": {"trunks[0].codecs": "expected at least one"},
    TRUNK + 'codecs = "PCMU"': {"trunks[0].codecs": "expected a list in brackets"},
    TRUNK + 'codecs = ["PCMU", "OPUS"]': {"trunks[0].codecs[1]": "expected 'PCMU', 'PCMA' or 'G722', not 'OPUS'"},
    TRUNK + "failover_on = [503, 486, 603]": {
        "trunks[0].failover_on": "486, 603: no other trunk can help; expected 401, 402, 403, 407, 408 or 5xx"
    },
    TRUNK + 'probe_interval = "soon"': {
        "trunks[0].probe_interval": 'expected a time such as "60s", "2m" or "1h", not \'soon\''
    },
    TRUNK + "calls_per_second = 0": {"trunks[0].calls_per_second": "expected 1 or more, not 0"},
    TRUNK + 'codecs = ["PCMU", "PCMU"]': {"trunks[0].codecs": "a codec is named twice"},
    TRUNK + 'session_expires = "30s"': {"trunks[0].session_expires": "expected 90s or more (RFC 4028 §4), not 30s"},
    TRUNK + 'outbound_proxy = ["sip:p;lr", "p"]': {
        "trunks[0].outbound_proxy[1]": "expected a SIP URI such as sip:carrier.example:5060;transport=udp"
    },
    TRUNK + 'password = "${NOBODY}"': {"trunks[0].password": "the environment variable NOBODY is not set"},
    TRUNK + 'password = "${no"': {
        "trunks[0].password": "${ starts the name of an environment variable, as in ${NAME}; write $${ for a plain ${"
    },
    TRUNK + 'outbound_proxy = ["${NOBODY}"]': {
        "trunks[0].outbound_proxy[0]": "the environment variable NOBODY is not set"
    },
}


@pytest.mark.parametrize(("text", "expected"), PAGE.items(), ids=[text.replace("\n", " ") for text in PAGE])
def test_mistake_names_its_key_and_what_was_expected(text: str, expected: dict[str, str]) -> None:
    assert mistakes(text) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "carrier.example",
        "tel:+15550000000",
        "sip:me@carrier.example",
        "sip:me:hunter2@carrier.example",
        "sip:carrier.example?Route=elsewhere",
        "sip:carrier.example>",
        "<sip:carrier.example>",
        "sip:carrier.example\\r\\nTo: x",
        "sip:carrier.example:0",
        "sip:carrier.example:65536",
        "sip:a.example,sip:b.example",
        "sip:carrier.example;transport=ws",
        "sips:carrier.example;transport=tcp",
    ],
)
def test_uri_that_could_mislead_an_invite_is_refused_without_repeating_it(uri: str) -> None:
    found = mistakes(f'[[trunks]]\nname = "main"\nuri = "{uri}"')
    assert list(found) == ["trunks[0].uri"]
    assert "hunter2" not in found["trunks[0].uri"]


@pytest.mark.parametrize(
    "uri",
    ["sip:10.0.0.1:5080", "sip:carrier.example;transport=tls", "sip:c.example;transport=UDP;lr"],
)
def test_uri_of_a_server_is_taken_as_it_is(uri: str) -> None:
    assert load(f'[[trunks]]\nname = "main"\nuri = "{uri}"').trunks[0].uri == uri


def test_sips_is_read_as_tls() -> None:
    [trunk] = load('[[trunks]]\nname = "main"\nuri = "sips:c.example:5061;lr"\nsrtp = "required"').trunks
    assert trunk.uri == "sip:c.example:5061;lr;transport=tls"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://localhost:9", "http://[::1]:9", "https://x.example/v"])
def test_plain_http_stays_on_this_machine(url: str) -> None:
    assert load(f'[ultravox]\nbase_url = "{url}/"').ultravox.base_url == url


def test_every_mistake_of_a_file_is_reported_at_once() -> None:
    text = TRUNK + 'password = "${NOBODY}"\ncodecs = ["X"]\n[http]\nport = -1\n[sip]\nmax_cals = 3\n[nothing]\n'
    assert list(mistakes(text)) == [
        "trunks[0].password",
        "http.port",
        "sip.max_cals",
        "trunks[0].codecs[0]",
        "nothing",
    ]


def test_syntax_error_names_line_and_column() -> None:
    assert mistakes("[http]\nport = \n") == {"line 2, column 8": "not TOML: invalid value"}


def test_unreadable_file_is_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Path("absent.toml"), {})
    assert str(caught.value) == "absent.toml has 1 mistake:\n  file: cannot be read: No such file or directory"
    Path("latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(Path("latin.toml"), {})


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_sample_trunk_is_a_configuration(sample: Path) -> None:
    environ = {"TRUNK_PASSWORD": "p", "ULTRAVOX_API_KEY": "k"}
    assert load_config(sample, environ).trunks


def test_the_key_of_a_certificate_is_checked_against_it(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")
    ours, other = authority.sign("a.example"), authority.sign("b.example")

    def tls(key: Path) -> str:
        return TRUNK + f"tls = {{ certificate = '{ours.path}', private_key = '{key}' }}"

    assert load(tls(ours.key)).trunks[0].tls.private_key == str(ours.key)
    assert mistakes(tls(other.key)) == {
        "trunks[0].tls.private_key": f"is no key without passphrase for {ours.path}: key values mismatch"
    }
