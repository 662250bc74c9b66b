from __future__ import annotations

import json

from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.selected_tools import Tool
from engine.sandbox.ultravox.server_messages import ServerMessages
from engine.sandbox.ultravox.tool_calls import ToolCalls


class Fixture:
    def __init__(self) -> None:
        self.messages = ServerMessages(frozenset(["clientToolInvocation"]))
        self.faults = ClientFaults()
        self.tools = ToolCalls(self.messages, (Tool(name="slow", kind="client", timeout_s=6.0),), self.faults)


def test_invocation_goes_out_and_its_result_comes_back() -> None:
    it = Fixture()
    invocation_id = it.tools.invoke("lookUp", {"q": 1}, 0.0)
    (sent,) = it.messages.take()
    assert isinstance(sent, str)
    assert json.loads(sent) == {
        "type": "client_tool_invocation", "toolName": "lookUp", "invocationId": invocation_id, "parameters": {"q": 1}
    }  # fmt: skip
    assert it.tools.answered({"invocationId": invocation_id, "result": "{}"}, 1.0)
    assert it.tools.results[invocation_id]["result"] == "{}"
    assert it.faults.counts == {}


def test_conversation_is_frozen_until_the_tools_own_timeout() -> None:
    it = Fixture()
    it.tools.invoke("slow", {}, 0.0)
    assert it.tools.awaited(5.9)
    assert not it.tools.awaited(6.1)


def test_late_repeated_unknown_and_missing_answers_are_faults() -> None:
    it = Fixture()
    late, _ = it.tools.invoke("a", {}, 0.0), it.tools.invoke("b", {}, 0.0)
    answers = [it.tools.answered({"invocationId": key}, 3.0) for key in (late, late, "unknown")]
    it.tools.finish(4.0)
    assert answers == [True, False, False]
    expected = ("late-result", "answered-twice", "unknown-invocation", "tool-never-answered")
    assert it.faults.counts == dict.fromkeys(expected, 1)
