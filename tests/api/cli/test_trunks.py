from __future__ import annotations

from tests.api.cli.conftest import Trunkline
from tests.api.cli.fake_server import fake_server

AT = "2026-03-09T15:30:00.000Z"
MAIN = {
    "name": "main",
    "provider": "sip",
    "priority": 0,
    "weight": 1,
    "up": True,
    "state": "up, registered",
    "calls": 3,
    "maxCalls": 10,
    "registration": {"state": "registered", "since": AT, "expiresAt": AT, "sip": {"code": 200, "reason": "OK"}},
}
BACKUP = {
    **MAIN,
    "name": "backup",
    "up": False,
    "state": "registration failed: 403 Forbidden",
    "registration": {"state": "failed", "since": AT, "sip": {"code": 403, "reason": "Forbidden"}, "hint": "Check it."},
    "probe": {"at": AT, "sip": {"code": 408, "reason": "no\x1banswer"}, "failures": 2},
}


def test_every_trunk_is_a_row_and_what_failed_has_its_hint_below(trunkline: Trunkline) -> None:
    with fake_server() as server:
        server.trunks = [MAIN, BACKUP]
        code, out, _ = trunkline("trunks", "--url", server.url, "--key", "tk_live_k")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "up, registered" in rows["main"] and "3 of 10" in rows["main"]
    assert "registration failed: 403 Forbidden" in rows["backup"] and "408 no answer" in rows["backup"]
    assert rows["backup:"] == "backup: Check it."


def test_without_a_trunk_that_takes_calls_the_exit_code_says_so(trunkline: Trunkline) -> None:
    with fake_server() as server:
        server.trunks = [BACKUP]
        assert trunkline("trunks", "--url", server.url, "--key", "tk_live_k")[0] == 1
