"""The effect of each client message on the agent."""

from __future__ import annotations

from typing import Any

from engine.sandbox.ultravox.agent import Agent


def obey(message: dict[str, Any], agent: Agent) -> None:
    """Apply a message that ``read_message`` accepted. Some messages that the service accepts have no effect here."""
    match message["type"]:
        case "ping":
            agent.messages.send("pong", timestamp=message["timestamp"])
        case "user_text_message" | "input_text_message":
            _read_user_text(message, agent)
        case "forced_agent_message":
            _interrupt_if_urgent(message, agent)
            agent.say(message.get("content") or "", uninterruptible=bool(message.get("uninterruptible")))
        case "hang_up":
            if not agent.speech.idle:
                agent.clear()
            agent.hang_up(message.get("message") or "")
        case "client_tool_result":
            _take_result(message, agent)
        case "data_connection_tool_result":
            where = "data_connection_tool_result on the call's socket"
            agent.faults.note("wrong-socket", agent.now, where)


def _read_user_text(message: dict[str, Any], agent: Agent) -> None:
    agent.user_acted()
    _interrupt_if_urgent(message, agent)
    if message["text"]:
        agent.transcript.user(message["text"], "text", agent.now)
        agent.reply_owed |= message.get("urgency") != "later" and not message.get("deferResponse")


def _interrupt_if_urgent(message: dict[str, Any], agent: Agent) -> None:
    if message.get("urgency") == "immediate" and agent.speech.interruptible:
        agent.clear()


def _take_result(result: dict[str, Any], agent: Agent) -> None:
    if not agent.tools.answered(result, agent.now):
        return
    if result.get("responseType") == "hang-up":
        agent.end("agent_hangup")
    elif result.get("agentReaction", "speaks") != "listens":
        agent.reply_owed = True
