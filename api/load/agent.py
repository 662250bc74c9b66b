"""The agent's side of a load run in its own process: the simulated Ultravox, with a ``Talk`` for each call.

``python -m api.load.agent FILE`` reads its settings (a line of JSON: ``port``, ``api_key``) from stdin, prints
``{"base_url": …}``, then a line of JSON every second. When stdin closes, it writes its ``TalkLog``s to FILE.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import setproctitle
import uvloop

from api.load.talk import Talk
from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox import CallKnobs, Conversation, Knobs, SimulatedUltravox
from engine.sandbox.ultravox.agent_socket import AgentSocket

_SILENT: Final = Dialogue(agent=(), callee=())
_LOOK_S: Final = 0.02


class Agents:
    """The talks of all calls, by the name in each call's metadata."""

    def __init__(self) -> None:
        self.talks: list[Talk] = []
        self.late_ms: list[float] = []
        self._live: list[tuple[Talk, Conversation]] = []

    def join(self, conversation: Conversation, agent_socket: AgentSocket) -> None:
        """A call's client has joined: start its talk."""
        loop = asyncio.get_running_loop()
        name = str(conversation.settings.body.get("metadata", {}).get("load", ""))
        talk = Talk(conversation, lambda: agent_socket.poll(loop.time()), name)
        self.talks.append(talk)
        self._live.append((talk, conversation))

    async def watch(self) -> None:
        """Stop the talks of ended calls, measure this process's lateness, and report once a second."""
        reported_s = time.monotonic()
        while True:
            due_s = time.monotonic() + _LOOK_S
            await asyncio.sleep(_LOOK_S)
            now_s = time.monotonic()
            self.late_ms.append((now_s - due_s) * 1000)
            for talk, _ in (it for it in self._live if it[1].end_reason is not None):
                talk.stop()
            self._live = [it for it in self._live if it[1].end_reason is None]
            if now_s > reported_s + 1:
                reported_s = now_s
                loops = [ms for talk in self.talks for ms in talk.log.loops_ms[-1:]]
                report(talking=len(self._live), loop_p50_ms=float(np.median(loops)) if loops else 0.0)


async def serve() -> dict[str, Any]:
    """Serve until stdin closes; returns the data to write then."""
    settings = json.loads(sys.stdin.readline())
    agents = Agents()
    simulator = SimulatedUltravox(
        port=settings["port"],
        api_key=settings["api_key"],
        dialogue=_SILENT,
        knobs=Knobs(call=CallKnobs(quiet=True)),
        on_join=agents.join,
    )
    async with simulator:
        report(base_url=simulator.base_url)
        watching = asyncio.create_task(agents.watch())
        closed = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), closed.set)
        await closed.wait()
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        watching.cancel()
        faults = [entry for call in simulator.account.calls.values() for entry in call.faults.render()]
        logs = [talk.log.render() for talk in agents.talks]
        late_ms = float(np.percentile(agents.late_ms, 99)) if agents.late_ms else 0.0
        return {"talks": logs, "faults": faults, "late_p99_ms": late_ms}


def report(**facts: Any) -> None:
    """Print the facts as a line of JSON for the parent process."""
    os.write(sys.stdout.fileno(), json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    setproctitle.setproctitle("trunkline load: agent")
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        logs = runner.run(serve())
    Path(sys.argv[1]).write_text(json.dumps(logs))
