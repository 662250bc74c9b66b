"""The far ends of end-to-end tests, made by nobody here: SIPp, baresip and Kamailio on loopback."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import wave
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from tests import g711
from tests.sip import matrix
from tests.sip.certificates import Certificate
from tests.sip.matrix import CONFIGS
from tests.sip.messages import SipMessage, parse_trace
from tests.sip.process import Peer, PeerFailed, free_port, listens, wait_until
from tests.sip.rtp import RtpTap

USERNAME, PASSWORD = "trunkline", "trunk-secret"
"""What the challenging scenarios and Kamailio accept."""
NUMBER: Final = "+15551234567"
"""Whom SIPp calls and who baresip is, unless the test says otherwise."""


def tone(frequency_hz: int, *, rate_hz: int = 8000, amplitude: int = 8000) -> bytes:
    """One second of s16le that repeats without a click."""
    phase = 2 * np.pi * frequency_hz * np.arange(rate_hz) / rate_hz
    return (amplitude * np.sin(phase)).astype("<i2").tobytes()


_ORDINARY: Final = (
    "verifyAuthHeader: authentication must be digest is",
    "Overload warning",
    "Unable to bind remote control socket",
)
"""What SIPp says of a request without credentials, which the scenario answers with a challenge, and of itself: of no
CPU, of a neighbour on the port of its unused remote control. None of it is the other side's doing."""


class _Sipp(Peer):
    """SIPp running one scenario of ``sip-test-configs/sipp``; its trace says what it received and sent.

    Both are kept when it has stopped.
    """

    program = "sipp"

    def __init__(
        self,
        scenario: str,
        *,
        rtp: RtpTap | None = None,
        rtp_echo: bool = False,
        hold_ms: int = 0,
        keys: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        super().__init__()
        self._scenario, self._rtp, self._rtp_echo, self._hold_ms = scenario, rtp, rtp_echo, hold_ms
        self._fixed_port = port
        self._media = 0
        self._keys = dict(keys or {})
        self._messages: list[SipMessage] = []
        self._complaints: list[str] = []
        self._read_to = 0

    @property
    def messages(self) -> list[SipMessage]:
        """All it received and sent, in order, retransmissions too."""
        trace = self.directory / "messages.log"
        if trace.exists():
            with trace.open("rb") as file:
                file.seek(self._read_to)
                fresh = list(parse_trace(file.read()))
            self._messages += [message for message, _ in fresh]
            self._read_to += fresh[-1][1] if fresh else 0
        return self._messages.copy()

    @property
    def complaints(self) -> list[str]:
        """What SIPp calls unexpected; empty when the other side kept to the scenario."""
        errors = self.directory / "errors.log"
        if errors.exists():
            entries = re.split(r"\d{4}-\d\d-\d\d\t\S+\t\S+: ", errors.read_text(errors="replace"))[1:]
            self._complaints = [
                entry for entry in entries if not entry.startswith(_ORDINARY) and "jumping to" not in entry
            ]
        return self._complaints

    def _ready(self) -> bool:
        return super()._ready() and listens(self._media)  # bound last; without it SIPp ends

    def _keep(self) -> None:
        _ = self.complaints
        statuses = dict.fromkeys(message.status for message in self.messages if message.status)
        matrix.runs.append(matrix.Run(far_end=self._scenario, statuses=tuple(statuses)))

    def _command(self) -> list[str]:
        scenario = (CONFIGS / "sipp" / f"{self._scenario}.xml").read_text(encoding="latin-1")
        if self._rtp:
            scenario = scenario.replace("[media_port]", str(self._rtp.port))
        (self.directory / "scenario.xml").write_text(scenario, encoding="latin-1")
        self.port, self._media, control = self._fixed_port or free_port(), free_port(pair=True), free_port()
        command = ["sipp", "-sf", "scenario.xml", "-i", "127.0.0.1", "-bind_local", "-p", str(self.port)]
        command += ["-mi", "127.0.0.1", "-mp", str(self._media), "-ci", "127.0.0.1", "-cp", str(control), "-nostdin"]
        command += ["-trace_msg", "-message_file", "messages.log", "-trace_err", "-error_file", "errors.log"]
        command += ["-d", str(self._hold_ms), *(["-rtp_echo"] if self._rtp_echo else [])]
        return command + [word for key, value in self._keys.items() for word in ("-key", key, value)]


class SippUas(_Sipp):
    """SIPp as trunk and callee. Serves any number of calls at once, until it is stopped.

    ``rtp`` takes the place of SIPp's own media port in its SDP; ``rtp_echo`` sends back what arrives at that port.
    ``hold_ms`` is the scenario's open pause (``-d``); ``tone_hz`` and ``ringback_hz`` are for the scenarios that play;
    ``port`` is any free one unless given.
    """

    def __init__(
        self,
        scenario: str,
        *,
        rtp: RtpTap | None = None,
        rtp_echo: bool = False,
        hold_ms: int = 0,
        tone_hz: int = 1000,
        ringback_hz: int = 425,
        keys: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(scenario, rtp=rtp, rtp_echo=rtp_echo, hold_ms=hold_ms, keys=keys, port=port)
        self._tone_hz, self._ringback_hz = tone_hz, ringback_hz

    def requests(self, method: str) -> list[SipMessage]:
        """Those it received, in order, retransmissions too."""
        return [m for m in self.messages if m.received and not m.status and m.method == method]

    def responses(self, method: str) -> list[SipMessage]:
        """Those it received to requests of its own."""
        return [m for m in self.messages if m.received and m.status and m.method == method]

    def dialog(self, call_id: str) -> list[str]:
        """What passed in one call, such as ``> INVITE``, ``< 200 INVITE``; ``>`` comes from the side under test."""
        return [
            f"{'>' if m.received else '<'} {f'{m.status} ' if m.status else ''}{m.method}"
            for m in self.messages
            if m.call_id == call_id
        ]

    async def wait_for(self, method: str, *, count: int = 1, within_s: float = 30) -> list[SipMessage]:
        """The first ``count`` requests of that kind; raises ``TimeoutError``."""
        what = f"{count} {method} at {self._scenario}"
        await wait_until(lambda: len(self.requests(method)) >= count, what, within_s=within_s)
        return self.requests(method)[:count]

    def _prepare(self) -> Sequence[str]:
        for name, frequency_hz in (("tone", self._tone_hz), ("ringback", self._ringback_hz)):
            (self.directory / f"{name}.ulaw").write_bytes(g711.encode(tone(frequency_hz), "PCMU"))
        return self._command()


class SippUac(_Sipp):
    """SIPp as a caller: so many calls to ``uri``, then it ends. For proving the callees without Trunkline."""

    def __init__(
        self,
        scenario: str,
        uri: str,
        *,
        user: str = NUMBER,
        password: str = PASSWORD,
        calls: int = 1,
        rtp: RtpTap | None = None,
        rtp_echo: bool = False,
        hold_ms: int = 0,
    ) -> None:
        super().__init__(scenario, rtp=rtp, rtp_echo=rtp_echo, hold_ms=hold_ms)
        self._target, self._user, self._password, self._calls = uri.removeprefix("sip:"), user, password, calls

    def _launch(self, command: Sequence[str]) -> bool:
        return super()._launch(command) or not self._lost_a_port()  # a brief call is over before anybody looks

    async def finish(self, *, within_s: float = 30) -> bool:
        """Wait for its last call; True when every call went as the scenario says."""
        assert self._process
        return await asyncio.to_thread(self._process.wait, within_s) == 0

    def statuses(self, method: str = "INVITE") -> list[int]:
        """The final responses it received, in order."""
        return [m.status for m in self.messages if m.received and m.status >= 200 and m.method == method]

    def _prepare(self) -> Sequence[str]:
        calls = ["-m", str(self._calls), "-l", str(self._calls), "-r", "40"]
        return [*self._command(), "-s", self._user, "-au", USERNAME, "-ap", self._password, *calls, self._target]


class Baresip(Peer):
    """baresip as another callee: answers at once, plays a tone for a minute, records what it hears.

    It has no registrar. Its recordings are named by the second, so tell calls apart by one instance each.
    """

    program = "baresip"

    def __init__(self, *, number: str = NUMBER, tone_hz: int = 1000, codec: str = "PCMU") -> None:
        super().__init__()
        self._number, self._tone_hz, self._codec = number, tone_hz, codec
        self._control = 0

    @property
    def rate_hz(self) -> int:
        """Of the tone and of ``heard``."""
        return 16000 if self._codec == "G722" else 8000

    def heard(self) -> bytes:
        """s16le at ``rate_hz``: what came in by RTP during the latest call, up to now."""
        recordings = sorted(self.directory.glob("dump-*-dec.wav"))
        return recordings[-1].read_bytes()[44:] if recordings else b""

    def dial(self, uri: str) -> None:
        self._tell("dial", uri)

    def hang_up(self) -> None:
        self._tell("hangup")

    def _tell(self, command: str, parameters: str = "") -> None:
        request = json.dumps({"command": command, "params": parameters}).encode()
        with socket.create_connection(("127.0.0.1", self._control), timeout=30) as control:
            control.sendall(b"%d:%s," % (len(request), request))
            reply = b""
            while b'"response":true' not in reply:  # events come first
                reply += control.recv(4096)
        if b'"ok":true' not in reply:
            raise PeerFailed(f"baresip: {command} {parameters}: {reply.decode()}")

    def _prepare(self) -> Sequence[str]:
        self.port, self._control, media = free_port(streams=True), free_port(streams=True), free_port(pair=True)
        values = {
            "DIRECTORY": str(self.directory),
            "PORT": str(self.port),
            "CONTROL": str(self._control),
            "RTP": f"{media}-{media + 3}",
            "RATE": str(self.rate_hz),
            "NUMBER": self._number,
            "CODEC": self._codec,
        }
        for name in ("config", "accounts"):
            text = (CONFIGS / "baresip" / name).read_text()
            for key, value in values.items():
                text = text.replace(f"@{key}@", value)
            (self.directory / name).write_text(text)
        with wave.open(str(self.directory / "tone.wav"), "wb") as recording:
            recording.setparams((1, 2, self.rate_hz, 0, "NONE", ""))
            recording.writeframes(tone(self._tone_hz, rate_hz=self.rate_hz) * 60)
        return ["baresip", "-4", "-f", str(self.directory)]

    def _ready(self) -> bool:
        return listens(self.port) and listens(self._control, protocol="tcp")


class SecureBaresip(Baresip):
    """baresip that speaks SIP over TLS, on ``tls_port`` with ``certificate``, and insists on SRTP."""

    def __init__(self, certificate: Certificate, *, tone_hz: int = 1000) -> None:
        super().__init__(tone_hz=tone_hz)
        self._certificate = certificate

    @property
    def tls_port(self) -> int:
        return self.port + 1

    def _prepare(self) -> Sequence[str]:
        command = super()._prepare()
        secure = (CONFIGS / "baresip" / "config-tls-srtp").read_text()
        with (self.directory / "config").open("a") as config:
            config.write(secure.replace("@CERTIFICATE@", str(self._certificate.with_key)))
        accounts = (CONFIGS / "baresip" / "accounts-tls-srtp").read_text()
        values = {"NUMBER": self._number, "PORT": str(self.tls_port), "CODEC": self._codec}
        for key, value in values.items():
            accounts = accounts.replace(f"@{key}@", value)
        (self.directory / "accounts").write_text(accounts)
        return command

    def _ready(self) -> bool:
        return super()._ready() and listens(self.tls_port, protocol="tcp")


class Kamailio(Peer):
    """Kamailio as registrar and outbound proxy, both with digest; unknown numbers go on to ``gateway``."""

    program = "kamailio"

    def __init__(self, *, gateway: str = "sip:127.0.0.1:9", port: int = 0) -> None:
        super().__init__()
        self._gateway, self._fixed_port = gateway, port

    def registered(self) -> bool:
        """Somebody is registered now."""
        asked = self._ask("ul.dump", "brief")
        asked.check_returncode()
        return b"AoR:" in asked.stdout

    def _ask(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["kamcmd", "-s", self._control, *command], capture_output=True, check=False)

    def _ready(self) -> bool:
        # It listens before it has processes: one that is told to end then never does.
        return super()._ready() and self._ask("core.uptime").returncode == 0

    @property
    def _control(self) -> str:
        return f"unix:{self.directory}/control"

    def _prepare(self) -> Sequence[str]:
        self.port = self._fixed_port or free_port()
        values = {"USERNAME": USERNAME, "PASSWORD": PASSWORD, "GATEWAY": self._gateway, "CONTROL": self._control}
        defines = [word for key, value in values.items() for word in ("-A", f'{key}="{value}"')]
        here = str(self.directory)
        command = ["kamailio", "-DD", "-E", "-f", str(CONFIGS / "kamailio" / "kamailio.cfg"), "-m", "32", "-M", "4"]
        return [*command, "-l", f"udp:127.0.0.1:{self.port}", "-w", here, "-Y", here, "-P", f"{here}/pid", *defines]
