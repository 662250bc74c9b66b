"""The client tools that an agent has called, and their results."""

from __future__ import annotations

from typing import Any, Final

from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.selected_tools import Tool
from engine.sandbox.ultravox.server_messages import ServerMessages

_TIMEOUT_S: Final = 2.5


class ToolCalls:
    """Notes the faults ``unknown-invocation``, ``answered-twice``, ``late-result``, ``tool-never-answered``."""

    def __init__(self, messages: ServerMessages, tools: tuple[Tool, ...], faults: ClientFaults) -> None:
        self.results: dict[str, dict[str, Any]] = {}
        """The ``client_tool_result`` messages by their ``invocationId``."""
        self._messages = messages
        self._timeouts_s = {tool.name: tool.timeout_s for tool in tools}
        self._faults = faults
        self._deadlines: dict[str, float] = {}

    def invoke(self, name: str, parameters: dict[str, Any], now: float) -> str:
        invocation_id = f"invocation-{len(self._deadlines)}"
        self._deadlines[invocation_id] = now + self._timeouts_s.get(name, _TIMEOUT_S)
        self._messages.send("client_tool_invocation", toolName=name, invocationId=invocation_id, parameters=parameters)
        return invocation_id

    def awaited(self, now: float) -> bool:
        """Whether the conversation waits for a tool that may still answer in time."""
        return any(key not in self.results and now < deadline for key, deadline in self._deadlines.items())

    def answered(self, result: dict[str, Any], now: float) -> bool:
        """Take a result; False when it belongs to no open invocation."""
        invocation_id = result["invocationId"]
        deadline = self._deadlines.get(invocation_id)
        if deadline is None:
            self._faults.note("unknown-invocation", now, invocation_id)
        elif invocation_id in self.results:
            self._faults.note("answered-twice", now, invocation_id)
        else:
            if now > deadline:
                self._faults.note("late-result", now, invocation_id)
            self.results[invocation_id] = result
            return True
        return False

    def finish(self, now: float) -> None:
        """The call is over."""
        for invocation_id in self._deadlines.keys() - self.results.keys():
            self._faults.note("tool-never-answered", now, invocation_id)
