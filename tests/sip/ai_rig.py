"""An engine with one trunk and a simulated Ultravox in the test's own process, for AI calls on loopback."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from engine.assembly import running_engine
from engine.config.settings import Config
from engine.engine import Engine
from engine.log import LogSettings
from engine.records import AgentSettings, CallRecord, CallRequest, Environment, Status
from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox import Conversation, Knobs, SimulatedUltravox
from engine.sandbox.ultravox.call import SimulatedCall
from engine.sandbox.ultravox.utterance import EndReason, Utterance
from tests.sip.peers import PASSWORD, USERNAME, SippUas
from tests.sip.ports import PORTS_IN_BLOCK, port_block
from tests.sip.process import wait_until
from tests.sip.rtp import RtpTap

API_KEY: Final = "ultravox-key-of-the-tests"
FROM, TO = "+15557654321", "+15551234567"
SILENT: Final = Dialogue(agent=(), callee=())
"""An agent that says only what the test has it say."""


class AiRig:
    """What a test of AI calls works with, made by ``ai_rig``."""

    def __init__(self, engine: Engine, ultravox: SimulatedUltravox, config: Config) -> None:
        self.engine = engine
        self.ultravox = ultravox
        self.config = config

    @property
    def database(self) -> Path:
        return Path(self.config.store.url.removeprefix("sqlite:///"))

    async def place(
        self, *, max_duration_s: float | None = None, metadata: Mapping[str, str] | None = None, **ai: Any
    ) -> CallRecord:
        """An AI call; ``ai`` are ``AgentSettings``."""
        agent = AgentSettings(**{"system_prompt": "Be brief.", **ai})
        request = CallRequest(
            from_number=FROM, to_number=TO, agent=agent, max_duration_s=max_duration_s, metadata=metadata or {}
        )
        return await self.engine.place(request, Environment.LIVE)

    async def talking(self, call: CallRecord) -> Conversation:
        """The agent's side of the call, once it hears the callee. For calls that are placed one after the other."""
        await self.until(call, lambda it: it.ai is not None and it.ai.joined_at is not None)
        conversation = self.simulated(await self.get(call)).conversation
        assert conversation is not None
        await self.ultravox.until(lambda: conversation.started)
        return conversation

    def simulated(self, record: CallRecord) -> SimulatedCall:
        """The call as the simulator has it."""
        assert record.ai is not None
        assert record.ai.ultravox_call_id is not None
        return self.ultravox.account.calls[record.ai.ultravox_call_id]

    async def get(self, call: CallRecord) -> CallRecord:
        return await self.engine.get(call.id, Environment.LIVE)

    async def hang_up(self, call: CallRecord) -> None:
        """DELETE."""
        await self.engine.hang_up(call.id, Environment.LIVE)

    async def until(self, call: CallRecord, holds: Callable[[CallRecord], bool], *, within_s: float = 30) -> CallRecord:
        """The first record for which ``holds`` is true; an error when the call ends without."""
        record = call
        async with asyncio.timeout(within_s):
            async for record in self.engine.watch(call.id, Environment.LIVE):
                if holds(record):
                    return record
        raise AssertionError(f"the call ended before: {record.outcome}")

    async def ended(self, call: CallRecord, *, within_s: float = 30) -> CallRecord:
        """The final record."""
        return await self.until(call, lambda it: it.status.final, within_s=within_s)

    async def status(self, call: CallRecord, status: Status) -> CallRecord:
        return await self.until(call, lambda it: it.status is status)

    def flush(self) -> float:
        """Have the simulator send what is pending now, not at its next tick; when that was (``time.monotonic``)."""
        for agent_socket in self.ultravox._sockets:
            agent_socket.poll(asyncio.get_running_loop().time())
        return time.monotonic()

    @property
    def client_faults(self) -> Mapping[str, object]:
        """What the simulator holds against the engine, by kind."""
        faults = [self.ultravox.account.faults, *(call.faults for call in self.ultravox.account.calls.values())]
        return {entry["kind"]: entry for fault in faults for entry in fault.render()}


@asynccontextmanager
async def ai_rig(
    trunk_uri: str,
    *,
    codecs: Sequence[str] = ("PCMU", "PCMA"),
    trunk: Mapping[str, Any] | None = None,
    sample_rate: int | str = "auto",
    ring_timeout: str = "20s",
    dtmf: str = "auto",
    max_calls: int = 4,
    dialogue: Dialogue = SILENT,
    knobs: Knobs | None = None,
    capture_s: float = 10.0,
    ultravox_url: str | None = None,
    hang_up_unjoined: bool = False,
    sip: Mapping[str, Any] | None = None,
    others: Sequence[Mapping[str, Any]] = (),
    log: LogSettings | None = None,
) -> AsyncIterator[AiRig]:
    """Running, with a warm worker. ``sip`` are further settings, ``others`` further trunks.

    On a good way out no fault of the client may be left.
    """
    log = log or LogSettings(level="CRITICAL")
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="ai-rig-"))
        base = stack.enter_context(port_block()).getsockname()[1]
        async with SimulatedUltravox(api_key=API_KEY, dialogue=dialogue, knobs=knobs, capture_s=capture_s) as ultravox:
            config = Config.model_validate(
                {
                    "store": {"url": f"sqlite:///{folder}/calls.db"},
                    "sip": {
                        "bind": "127.0.0.1",
                        "port": base + 1,
                        "rtp_ports": f"{base + 100}-{base + PORTS_IN_BLOCK - 1}",
                        "max_calls": max_calls,
                        "ring_timeout": ring_timeout,
                        **(sip or {}),
                    },
                    "trunks": (
                        {
                            "name": "tests",
                            "uri": trunk_uri,
                            "username": USERNAME,
                            "password": PASSWORD,
                            "codecs": tuple(codecs),
                            "dtmf": dtmf,
                            **(trunk or {}),
                        },
                        *others,
                    ),
                    "ultravox": {
                        "api_key": API_KEY,
                        "base_url": ultravox_url or ultravox.base_url,
                        "sample_rate": sample_rate,
                        "hang_up_unjoined": hang_up_unjoined,
                    },
                }
            )
            async with running_engine(config, log=log) as engine:
                await wait_until(lambda: engine.readiness().ready, "a warm worker")
                rig = AiRig(engine, ultravox, config)
                yield rig
            assert rig.client_faults == {}, rig.client_faults


def speak(
    conversation: Conversation,
    pcm: bytes,
    text: str = "",
    *,
    interruptible: bool = False,
    then: EndReason | None = None,
) -> None:
    """Have the agent play ``pcm`` (s16le at its rate). What the callee plays meanwhile is no barge-in."""
    utterance = Utterance(text, pcm, conversation.settings.output_hz)
    utterance.uninterruptible = not interruptible
    utterance.ends_call = then
    conversation.agent.speech.say(utterance)


class EarlyMediaTapped(SippUas):
    """``uas-183-then-200`` whose media, before and after the answer, is ``tap``'s.

    Its messages tell in ``X-Sent`` when they were to leave: the trace has the time when they had left.
    """

    def __init__(self, tap: RtpTap) -> None:
        super().__init__("uas-183-then-200")
        self._tap = tap

    def _command(self) -> list[str]:
        command = super()._command()
        path = self.directory / "scenario.xml"
        scenario = re.sub(r"<nop><action><exec rtp_stream=.*</nop>", "", path.read_text(encoding="latin-1"))
        scenario = scenario.replace("Contact:", "X-Sent: [timestamp]\n      Contact:")
        path.write_text(scenario.replace("[rtpstream_audio_port]", str(self._tap.port)), encoding="latin-1")
        return command
