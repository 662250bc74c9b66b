"""What each message of a client does to a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.sandbox.ultravox.conversation import Conversation


def obey(message: dict[str, Any], conversation: Conversation) -> None:
    """Do what a message that ``read_message`` let pass asks for; some that the service takes change nothing here."""
    match message["type"]:
        case "ping":
            conversation.messages.send("pong", timestamp=message["timestamp"])
        case "user_text_message" | "input_text_message":
            _read_user_text(message, conversation)
        case "forced_agent_message":
            _interrupt_if_urgent(message, conversation)
            conversation.say(message.get("content") or "", uninterruptible=bool(message.get("uninterruptible")))
        case "hang_up":
            if not conversation.speech.idle:
                conversation.clear()
            conversation.hang_up(message.get("message") or "")
        case "client_tool_result":
            _take_result(message, conversation)
        case "data_connection_tool_result":
            where = "data_connection_tool_result on the call's socket"
            conversation.faults.note("wrong-socket", conversation.now, where)


def _read_user_text(message: dict[str, Any], conversation: Conversation) -> None:
    conversation.user_acted()
    _interrupt_if_urgent(message, conversation)
    if message["text"]:
        conversation.transcript.user(message["text"], "text", conversation.now)
        conversation.reply_owed |= message.get("urgency") != "later" and not message.get("deferResponse")


def _interrupt_if_urgent(message: dict[str, Any], conversation: Conversation) -> None:
    if message.get("urgency") == "immediate" and conversation.speech.interruptible:
        conversation.clear()


def _take_result(result: dict[str, Any], conversation: Conversation) -> None:
    if not conversation.tools.answered(result, conversation.now):
        return
    if result.get("responseType") == "hang-up":
        conversation.end("agent_hangup")
    elif result.get("agentReaction", "speaks") != "listens":
        conversation.reply_owed = True
