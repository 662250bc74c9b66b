"""Webhooks and their deliveries: records to rows and back, on the caller's connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, delete, func, insert, select, update

from engine.errors import TooManyWebhooks
from engine.records import CallChange, CallId, CallRecord, Environment
from engine.store import schema
from engine.webhooks.delivery import Delivery, DeliveryStatus, Webhook
from engine.webhooks.subscriptions import EVENTS, MAX_WEBHOOKS, ShowCall, announce, without_words

_webhooks, _deliveries = schema.webhooks, schema.deliveries
_pending = _deliveries.c.status == DeliveryStatus.PENDING.value

_ALL = select(_webhooks).order_by(_webhooks.c.created_at, _webhooks.c.id)
_ACTIVE = _ALL.where(_webhooks.c.disabled_at.is_(None), _webhooks.c.environment == bindparam("wanted"))
_WAITING = select(_deliveries.c.webhook_id).where(_deliveries.c.call_id == bindparam("call"), _pending)
_INSERT_DELIVERIES = insert(_deliveries)
"""Built once: every change of a call runs them, and building one takes longer than running it."""


def insert_webhook(conn: Connection, webhook: Webhook) -> None:
    """Write a new webhook. Raises ``TooManyWebhooks``."""
    of_environment = select(func.count()).where(_webhooks.c.environment == webhook.environment.value)
    if conn.execute(of_environment).scalar_one() >= MAX_WEBHOOKS:
        raise TooManyWebhooks(MAX_WEBHOOKS)
    row = {**asdict(webhook), "environment": webhook.environment.value, "events": list(webhook.events)}
    conn.execute(insert(_webhooks), row)


def read_webhooks(conn: Connection, environment: Environment) -> Sequence[Webhook]:
    """The environment's webhooks, oldest first."""
    return _read(conn, _webhooks.c.environment == environment.value)


def read_webhook(conn: Connection, webhook_id: str) -> Webhook | None:
    """The webhook, or None."""
    found = _read(conn, _webhooks.c.id == webhook_id)
    return found[0] if found else None


def delete_webhook(conn: Connection, webhook_id: str, environment: Environment) -> bool:
    """Delete the webhook and its deliveries; False when there is no such webhook."""
    this = (_webhooks.c.id == webhook_id) & (_webhooks.c.environment == environment.value)
    return conn.execute(delete(_webhooks).where(this)).rowcount > 0


def disable_webhook(conn: Connection, webhook_id: str, at: datetime) -> None:
    """Disable the webhook: it gets no more events, and its pending deliveries fail."""
    unnoted = (_webhooks.c.id == webhook_id) & _webhooks.c.disabled_at.is_(None)
    conn.execute(update(_webhooks).where(unnoted).values(disabled_at=at))
    over = update(_deliveries).where(_deliveries.c.webhook_id == webhook_id, _pending)
    conn.execute(over.values(status=DeliveryStatus.FAILED.value, due_at=None, body=""))


def queue(conn: Connection, call: CallRecord, changes: Iterable[CallChange], show: ShowCall) -> set[str]:
    """Write the deliveries of a call's changes; returns the ids of their webhooks."""
    events = [change for change in changes if change.kind in EVENTS]
    if not events:
        return set()
    webhooks = [_webhook(row) for row in conn.execute(_ACTIVE, {"wanted": call.environment.value}).mappings()]
    if not webhooks:
        return set()
    waiting = set(conn.execute(_WAITING, {"call": call.id}).scalars())
    deliveries = list(announce(call, events, webhooks, waiting=waiting, show=show))
    if deliveries:
        conn.execute(_INSERT_DELIVERIES, [{**asdict(each), "status": each.status.value} for each in deliveries])
    return {delivery.webhook_id for delivery in deliveries}


def settle(conn: Connection, delivery: Delivery, at: datetime) -> None:
    """Write the state of a pending delivery. When the delivery is over, the call's next one becomes due."""
    over = delivery.status is not DeliveryStatus.PENDING
    values: dict[str, Any] = {
        "status": delivery.status.value,
        "attempts": delivery.attempts,
        "response_code": delivery.response_code,
        "due_at": None if over else delivery.due_at,
    }
    if over:
        values["body"] = ""  # otherwise left alone: it may have been redacted since the attempt began
    written = conn.execute(update(_deliveries).where(_deliveries.c.id == delivery.id, _pending).values(values))
    if not over or not written.rowcount:
        return
    same = (_deliveries.c.call_id == delivery.call_id) & (_deliveries.c.webhook_id == delivery.webhook_id)
    following = conn.execute(select(func.min(_deliveries.c.number)).where(same, _pending)).scalar()
    conn.execute(update(_deliveries).where(_deliveries.c.number == following).values(due_at=at))


def redact(conn: Connection, call_id: CallId) -> None:
    """Remove the transcript from the call's pending deliveries."""
    of_call = select(_deliveries.c.number, _deliveries.c.body).where(_deliveries.c.call_id == call_id, _pending)
    for number, body in conn.execute(of_call).all():
        conn.execute(update(_deliveries).where(_deliveries.c.number == number).values(body=without_words(body)))


def forget_deliveries(conn: Connection, before: datetime, limit: int) -> int:
    """Delete at most ``limit`` finished deliveries older than ``before``; returns their number."""
    old = select(_deliveries.c.number).where(_deliveries.c.created_at < before, ~_pending).limit(limit)
    return conn.execute(delete(_deliveries).where(_deliveries.c.number.in_(old))).rowcount


def read_upcoming(conn: Connection, webhook_id: str, limit: int) -> Sequence[Delivery]:
    """The webhook's deliveries that are due at a known time, earliest first."""
    theirs = (_deliveries.c.webhook_id == webhook_id) & _deliveries.c.due_at.is_not(None)
    query = select(_deliveries).where(theirs).order_by(_deliveries.c.due_at, _deliveries.c.number).limit(limit)
    return [_delivery(row) for row in conn.execute(query).mappings()]


def read_deliveries(conn: Connection, webhook_id: str, limit: int) -> Sequence[Delivery]:
    """The webhook's deliveries, newest first."""
    theirs = select(_deliveries).where(_deliveries.c.webhook_id == webhook_id)
    rows = conn.execute(theirs.order_by(_deliveries.c.number.desc()).limit(limit)).mappings()
    return [_delivery(row) for row in rows]


def read_backlogs(conn: Connection) -> Sequence[str]:
    """The webhooks with a due time. A pending delivery has a due time, or waits for an earlier one that has."""
    due = select(_deliveries.c.webhook_id).where(
        _deliveries.c.webhook_id == _webhooks.c.id, _deliveries.c.due_at.is_not(None)
    )
    return list(conn.execute(select(_webhooks.c.id).where(due.exists())).scalars())


def _read(conn: Connection, which: ColumnElement[bool]) -> list[Webhook]:
    return [_webhook(row) for row in conn.execute(_ALL.where(which)).mappings()]


def _webhook(row: RowMapping) -> Webhook:
    return Webhook(**{**row, "environment": Environment(row["environment"]), "events": tuple(row["events"])})


def _delivery(row: RowMapping) -> Delivery:
    fields = {name: value for name, value in row.items() if name != "number"}
    return Delivery(**{**fields, "status": DeliveryStatus(row["status"])})
