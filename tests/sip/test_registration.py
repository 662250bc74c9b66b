"""Registrations that stay up, against SIPp and Kamailio."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from engine.errors import TrunkUnavailable
from engine.processes import registrar_handle as registrar_process
from engine.records import Status
from engine.trunks.health import RegistrationState
from tests.sip.messages import SipMessage
from tests.sip.odd_carrier import SDP, FarCall, OddCarrier
from tests.sip.peers import PASSWORD, USERNAME, Kamailio, SippUas
from tests.sip.process import free_port, wait_until
from tests.sip.trunkline import LIVE, TO, Trunkline, trunkline

pytestmark = pytest.mark.sip


class SlowRegistrar(SippUas):
    """``registrar-200`` that takes its time: a REGISTER it has received is not answered yet."""

    def __init__(self) -> None:
        super().__init__("registrar-200")

    def _command(self) -> list[str]:
        command = super()._command()
        path = self.directory / "scenario.xml"
        scenario, received = path.read_text(encoding="latin-1"), '<recv request="REGISTER"/>'
        path.write_text(scenario.replace(received, f'{received}<pause milliseconds="400"/>'), encoding="latin-1")
        return command


def registration(line: Trunkline) -> RegistrationState:
    state = line.engine.trunks(LIVE)[0].health.registration
    assert state is not None
    return state


async def until(line: Trunkline, state: str, *, within_s: float = 30) -> RegistrationState:
    await wait_until(lambda: registration(line).state == state, f"the trunk {state}", within_s=within_s)
    return registration(line)


async def test_a_registrar_that_was_stopped_has_us_again_when_it_is_back_and_calls_are_refused_meanwhile(
    tmp_path: Path,
) -> None:
    port = free_port()
    uri, brief = f"sip:127.0.0.1:{port}", {"register_expires": "3s"}
    async with (
        SippUas("uas-answers-then-byes") as pstn,
        trunkline(tmp_path, uri, registrar=uri, trunk=brief, until_ready=False) as line,
    ):
        async with Kamailio(gateway=pstn.uri, port=port):
            await until(line, "registered")
            assert (await line.call()).status is Status.COMPLETED
        failed = await until(line, "failed")
        assert (failed.code, failed.expires_at) == (408, None)
        assert "registrar" in failed.hint
        assert not line.engine.readiness().ready
        with pytest.raises(TrunkUnavailable, match="registration failed: 408"):
            await line.place()
        async with Kamailio(gateway=pstn.uri, port=port) as registrar:
            again = await until(line, "registered")
            assert again.since > failed.since
            assert registrar.registered()
            assert (await line.call()).status is Status.COMPLETED


async def test_a_registrar_that_wants_longer_registrations_gets_them(tmp_path: Path) -> None:
    async with (
        SippUas("registrar-423") as registrar,
        trunkline(tmp_path, registrar.uri, registrar=registrar.uri, trunk={"register_expires": "60s"}) as line,
    ):
        state = registration(line)
        assert state.expires_at is not None
        assert (state.expires_at - state.since).total_seconds() == pytest.approx(1800, abs=1)
        assert [request.header("Expires") for request in registrar.requests("REGISTER")] == ["60", "1800"]


@pytest.mark.parametrize(
    ("scenario", "said"), [("registrar-403", "403 Forbidden"), ("registrar-challenges-401", "401 Unauthorized")]
)
async def test_a_refused_account_is_shown_as_failed_with_the_settings_to_look_at_takes_no_calls_and_is_not_hammered(
    tmp_path: Path, scenario: str, said: str
) -> None:
    async with (
        SippUas(scenario) as registrar,
        trunkline(tmp_path, registrar.uri, registrar=registrar.uri, password="wrong", until_ready=False) as line,
    ):
        state = await until(line, "failed")
        assert f"{state.code} {state.reason}" == said
        assert "username and password" in state.hint
        asked = len(registrar.requests("REGISTER"))
        with pytest.raises(TrunkUnavailable, match=f"registration failed: {said}"):
            await line.place()
        await asyncio.sleep(0.5)
        assert len(registrar.requests("REGISTER")) == asked
        assert registrar.requests("INVITE") == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_call_leaves_from_the_address_that_registered_along_the_service_route(
    tmp_path: Path, transport: str
) -> None:
    async def strict(call: FarCall) -> None:
        registered, route = carrier.registrations[-1][1], call.invite.header("Route")
        if carrier.sources[TO] == registered and route == f"<{carrier.uri};transport={transport};lr;orig=1>":
            call.respond("200 OK", body=SDP)
        else:
            call.respond("403 Not Registered", contact="")

    def register(request: SipMessage) -> tuple[str, ...]:
        route = f"Service-Route: <{carrier.uri};transport={transport};lr;orig=1>"
        return ("200 OK", f"Contact: {request.header('Contact')};expires=60", "Path: <sip:edge.example;lr>", route)

    async with OddCarrier({TO: strict}) as carrier:
        carrier.on_register = register
        uri = f"{carrier.uri};transport={transport}"
        async with trunkline(tmp_path, uri, registrar=uri) as line:
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            far = await carrier.call(TO)
            await far.wait_for("ACK")
            await line.hang_up(call)
            await line.ended(call)
            await far.wait_for("BYE")
            far.close()


_BINDINGS = {
    "rewritten": ("200 OK", "Contact: <sip:rewritten@203.0.113.9:40123>;expires=20"),
    "stale": (
        "200 OK",
        "Contact: <sip:stale@203.0.113.9:40123>;expires=20",
        "Contact: <sip:stale@203.0.113.9:40001>;expires=0",
    ),
    "beside": (
        "200 OK",
        "Contact: <sip:beside@192.0.2.77:5060>;expires=3600, <sip:beside@203.0.113.9:40123>;expires=20",
    ),
    "other": ("200 OK", "Contact: <sip:x@192.0.2.1>;expires=10, <sip:other@203.0.113.9>;expires=60", "Expires: 7"),
    "quoted": ("200 OK", 'Contact: <sip:quoted@203.0.113.9>;expires="20"'),
    "silent": ("200 OK", "Path: <sip:edge.example;lr>", "P-Associated-URI: <sip:silent@carrier.example>"),
    "removed": ("200 OK", "Contact: <sip:removed@127.0.0.1>;expires=0"),
    "moved": ("302 Moved Temporarily", "Contact: <sip:127.0.0.2>"),
}
"""What a registrar answers, by the account; we ask for 300 s."""
_GRANTED_S = {"rewritten": 20, "stale": 20, "beside": 20, "other": 60, "quoted": 20, "silent": 300}


async def test_the_binding_that_holds_is_found_among_others_however_it_was_rewritten(tmp_path: Path) -> None:
    def register(request: SipMessage) -> tuple[str, ...]:
        return _BINDINGS[(request.header("To") or "").partition("sip:")[2].partition("@")[0]]

    async with OddCarrier() as carrier:
        carrier.on_register = register
        settings = [
            {"name": name, "uri": carrier.uri, "registrar": carrier.uri, "username": name, "password": "x"}
            for name in _BINDINGS
        ]
        async with trunkline(
            tmp_path, carrier.uri, registrar=carrier.uri, trunk=settings[0], others=settings[1:], until_ready=False
        ) as line:
            states = {one.trunk.name: one.health for one in line.engine.trunks(LIVE)}

            def known() -> bool:
                return all(one.registration and one.registration.state != "registering" for one in states.values())

            await wait_until(known, "every registration")
            found = {
                name: round((state.expires_at - state.since).total_seconds())
                for name, state in ((name, one.registration) for name, one in states.items())
                if state is not None and state.expires_at is not None
            }
            assert found == _GRANTED_S
            texts = {name: str(one) for name, one in states.items() if name not in found}
            assert texts == {
                "removed": "registration failed: 200 OK, but the registrar keeps no binding of ours",
                "moved": "registration failed: 302 Moved Temporarily",
            }
            asked = len(carrier.registrations)
            await asyncio.sleep(0.3)
            assert len(carrier.registrations) <= asked + 2, "back-off"


async def test_a_name_that_does_not_resolve_is_reported_by_name_without_a_sip_status(
    tmp_path: Path,
) -> None:
    uri = "sip:sip.nosuch.invalid"
    trunk = {"probe_interval": "1s"}
    async with trunkline(tmp_path, uri, registrar=uri, trunk=trunk, until_ready=False) as line:
        state = await until(line, "failed")
        await wait_until(lambda: line.engine.trunks(LIVE)[0].health.probe is not None, "a probe")
        await asyncio.sleep(2)  # further attempts
        health = line.engine.trunks(LIVE)[0].health
        assert state.code is None
        assert state.reason.startswith("sip.nosuch.invalid does not resolve: ")
        assert "DNS" in state.hint
        assert str(health).startswith("registration failed: sip.nosuch.invalid does not resolve: ")
        assert health.probe
        assert health.probe.code is None
        assert registration(line).since == state.since, "one change, one line in the log"
        with pytest.raises(TrunkUnavailable, match="registration failed: sip.nosuch.invalid does not resolve"):
            await line.place()


async def test_a_nonce_that_went_stale_is_replaced_without_a_failure(tmp_path: Path) -> None:
    async with (
        SippUas("registrar-nonce-stale") as registrar,
        trunkline(tmp_path, registrar.uri, registrar=registrar.uri, trunk={"register_expires": "3s"}) as line,
    ):
        since = registration(line).since
        requests = await registrar.wait_for("REGISTER", count=4)
        assert ['nonce="second' in (request.header("Authorization") or "") for request in requests] == [
            False,
            False,
            False,
            True,
        ]
        assert requests[3].answers_challenge(USERNAME, PASSWORD)
        await wait_until(lambda: registrar.messages[-1].status == 200, "the renewed registration")
        assert (registration(line).state, registration(line).since) == ("registered", since)


async def test_a_registrar_that_asks_for_sha_256_gets_it(tmp_path: Path) -> None:
    async with (
        SippUas("registrar-sha-256") as registrar,
        trunkline(tmp_path, registrar.uri, registrar=registrar.uri),
    ):
        answer = registrar.requests("REGISTER")[1]
        assert "algorithm=SHA-256" in (answer.header("Authorization") or "")
        assert answer.answers_challenge(USERNAME, PASSWORD)


async def test_a_first_registration_that_is_still_on_its_way_is_removed_at_shutdown(tmp_path: Path) -> None:
    async with SlowRegistrar() as registrar:
        async with trunkline(tmp_path, registrar.uri, registrar=registrar.uri, until_ready=False):
            await registrar.wait_for("REGISTER")
        asked = {request.header("CSeq"): request.header("Expires") for request in registrar.requests("REGISTER")}
        assert list(asked.values()) == ["300", "0"]


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_registrar_process_that_died_or_hangs_is_replaced_and_registers_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: signal.Signals
) -> None:
    monkeypatch.setattr(registrar_process, "SILENT_SWEEPS", 2)
    async with (
        SippUas("registrar-200") as registrar,
        trunkline(tmp_path, registrar.uri, registrar=registrar.uri) as line,
    ):
        before = registration(line)
        os.kill(_pid_of_registrar(), fate)
        await wait_until(lambda: registration(line).since > before.since, "the loss noticed")
        await until(line, "registered")


def _pid_of_registrar() -> int:
    """The process of this test's engine that is titled so."""

    def ancestors(pid: int) -> list[int]:
        found = []
        while pid > 1:
            found.append(pid)
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return found

    for process in Path("/proc").glob("[0-9]*"):
        try:
            titled = (process / "cmdline").read_bytes().startswith(b"trunkline: registrar")
            if titled and os.getpid() in ancestors(int(process.name)):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("no registrar process")
