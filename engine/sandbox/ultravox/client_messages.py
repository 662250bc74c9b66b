"""The text messages that a client may send, checked field by field."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from engine.sandbox.ultravox.faults import ClientFaults

_MAX_BYTES: Final = 15_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    kind: type | tuple[type, ...] = str
    required: bool = False
    choices: tuple[str, ...] = ()


_TEXT = _Field(required=True)
_ANY_TEXT = _Field()
_RESULT = {
    "invocationId": _TEXT,
    "result": _ANY_TEXT,
    "responseType": _Field(choices=("tool-response", "hang-up", "new-stage", "send-to-thread")),
    "agentReaction": _Field(choices=("speaks", "listens", "speaks-once")),
    "errorType": _Field(choices=("undefined", "implementation-error")),
    "errorMessage": _ANY_TEXT,
    "updateCallState": _Field(kind=dict),
}
_MESSAGES: Final[dict[str, dict[str, _Field]]] = {
    "ping": {"timestamp": _Field(kind=(int, float), required=True)},
    "user_text_message": {
        "text": _TEXT,
        "urgency": _Field(choices=("immediate", "soon", "later")),
        "threadId": _ANY_TEXT,
        "deferResponse": _Field(kind=bool),
    },
    "input_text_message": {"text": _TEXT, "deferResponse": _Field(kind=bool)},
    "set_output_medium": {"medium": _Field(required=True, choices=("voice", "text"))},
    "client_tool_result": _RESULT,
    "data_connection_tool_result": _RESULT,
    "forced_agent_message": {
        "content": _ANY_TEXT,
        "toolCalls": _Field(kind=list),
        "knownToolResults": _Field(kind=list),
        "uninterruptible": _Field(kind=bool),
        "urgency": _Field(choices=("immediate", "soon")),
        "threadId": _ANY_TEXT,
    },
    "hang_up": {"message": _ANY_TEXT},
    "spawn_thread": {
        "newThreadId": _ANY_TEXT,
        "parentThreadId": _ANY_TEXT,
        "ifExists": _Field(choices=("reject", "replace")),
        "additionalMessages": _Field(kind=list),
        "toolFilter": _Field(kind=dict),
        "limits": _Field(kind=dict),
    },
}


def read_message(text: str, faults: ClientFaults, now: float) -> dict[str, Any] | None:
    """The message; None when it must be ignored.

    Notes the faults ``oversize-message``, ``malformed-json``, ``unknown-type``, ``missing-field``, ``bad-value``,
    ``unknown-field``. A message is ignored for any of them but the first and the last.
    """
    if len(text.encode()) > _MAX_BYTES:
        faults.note("oversize-message", now, f"{len(text)} characters")
    try:
        message = json.loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        faults.note("malformed-json", now, text)
        return None
    fields = _MESSAGES.get(str(message.get("type")))
    if fields is None:
        faults.note("unknown-type", now, str(message.get("type")))
        return None
    for name in message.keys() - fields.keys() - {"type"}:
        faults.note("unknown-field", now, f"{message['type']}.{name}")
    ok = [_check(name, field, message, faults, now) for name, field in fields.items()]
    if not all(ok):
        return None
    if "invocationId" in fields and ("result" in message) == ("errorType" in message):
        faults.note("bad-value", now, f"{message['type']}: expected either result or errorType")
        return None
    return message


def _check(name: str, field: _Field, message: dict[str, Any], faults: ClientFaults, now: float) -> bool:
    value = message.get(name)
    where = f"{message['type']}.{name}"
    if value is None:
        if field.required:
            faults.note("missing-field", now, where)
        return not field.required
    if not isinstance(value, field.kind) or (field.choices and value not in field.choices):
        faults.note("bad-value", now, f"{where}: {value!r}")
        return False
    return True
