"""A webhook and its deliveries, as they are kept."""

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
    """An endpoint that is told of its environment's events. ``secret`` signs, so it is kept as it is."""

    id: str
    environment: Environment
    url: str = field(repr=False)
    """May hold a token of its owner's, so it is in no log either."""
    events: tuple[str, ...]
    """Globs, such as ``voice.*``."""
    secret: str = field(repr=False)
    created_at: datetime
    disabled_at: datetime | None = None
    """Set: the endpoint said that it is gone, and is told nothing any more."""


class DeliveryStatus(enum.StrEnum):
    """The state of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up, or the webhook was disabled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one webhook. ``id`` is the same at every attempt: receivers know a repetition by it."""

    id: str
    webhook_id: str
    call_id: CallId
    event: str
    body: str = field(repr=False)
    """What is signed and sent; emptied once the delivery is over."""
    created_at: datetime
    due_at: datetime | None
    """The next attempt; None when it is over, or waits for an earlier delivery of its call."""
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    response_code: int | None = None
    """The last attempt's; None when no response came."""
