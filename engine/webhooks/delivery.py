"""A webhook and its deliveries, as they are stored."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime

from engine.records import (
    CallId,
    Environment,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An endpoint that gets its environment's events. ``secret`` signs them, so it is stored as it is, not hashed."""

    id: str
    environment: Environment
    url: str = field(repr=False)
    """May hold the owner's token, so it is never logged."""
    events: tuple[str, ...]
    """Globs, such as ``voice.*``."""
    secret: str = field(repr=False)
    created_at: datetime
    disabled_at: datetime | None = None
    """When set, the endpoint answered that it is gone; it gets no more events."""


class DeliveryStatus(enum.StrEnum):
    """The state of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up, or the webhook was disabled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one webhook. ``id`` is the same in every attempt, so that receivers recognise a repetition."""

    id: str
    webhook_id: str
    call_id: CallId
    event: str
    body: str = field(repr=False)
    """The signed body; emptied once the delivery is over."""
    created_at: datetime
    due_at: datetime | None
    """The time of the next attempt; None when the delivery is over, or waits for an earlier one of its call."""
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    response_code: int | None = None
    """The status of the last attempt's response; None when no response came."""
