"""A trunk, a request and a call's record: a test names what matters to it, the rest is as good as anything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from engine.config.trunk import TrunkConfig
from engine.records import (
    AgentSettings,
    AiRecord,
    CallId,
    CallRecord,
    CallRequest,
    Environment,
    SipCallId,
    Status,
)
from engine.trunks.trunks import Trunk

NOON = datetime(2026, 3, 9, 12, 0, 0, 123456, tzinfo=UTC)
KIND = AgentSettings(system_prompt="Be kind.")


def trunk(**settings: Any) -> Trunk:
    """As ``settings``, which are keys of ``[[trunks]]``, configure it."""
    keys = {"name": "main", "uri": "sip:carrier.example", "codecs": ("PCMU",), **settings}
    return TrunkConfig.model_validate(keys).trunk(0)


def request(**given: Any) -> CallRequest:
    """A plain call's, unless an ``agent`` is given."""
    return CallRequest(**{"from_number": "+14155550100", "to_number": "+14155550111", **given})


def call_record(**given: Any) -> CallRecord:
    """A live call that was just accepted; an AI call's has its side of the agent."""
    identity = uuid4()
    asked = given.get("request") or request()
    values: dict[str, Any] = {
        "id": CallId(str(identity)),
        "sip_call_id": SipCallId("CA" + identity.hex),
        "environment": Environment.LIVE,
        "request": asked,
        "provider": "sip",
        "trunk": "main",
        "status": Status.INITIATED,
        "created_at": NOON,
        "ai": AiRecord() if asked.agent else None,
    }
    return CallRecord(**{**values, **given})
