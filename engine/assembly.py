"""The composition root: builds an Engine from a Config in order, and closes everything in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from engine import numbering
from engine.calls.call import CallLimits
from engine.config.settings import Config, RetentionConfig, WebhooksConfig
from engine.engine import Engine
from engine.environments.backend import Backend
from engine.environments.live import LiveBackend
from engine.environments.worker_plan import WorkerPlan
from engine.guard.guard import Guard
from engine.log import LogSettings
from engine.processes.supervisor import Supervisor
from engine.records import Environment
from engine.retention import keep_for
from engine.sandbox.backend import SandboxBackend
from engine.store import Store, only_the_id, open_store
from engine.ultravox_service import UltravoxService
from engine.watchdog import watch_over
from engine.webhooks.dispatcher import Dispatcher
from engine.webhooks.registry import WebhookRegistry
from engine.webhooks.sender import Sender
from engine.webhooks.subscriptions import ShowCall
from engine.webhooks.targets import Resolver
from media.ultravox.rest import UltravoxApi

_DEFAULT_MAX_DURATION_S = 3600.0
_IMPORTED_AHEAD = ("anyio._backends._asyncio", "anyio.streams.tls", "encodings.idna", "httpcore._backends.anyio")
"""What httpx and Python import with the first request: by then there may be no descriptor left to import with."""


@asynccontextmanager
async def running_engine(
    config: Config,
    *,
    log: LogSettings | None = None,
    recordings: Path | None = None,
    show_call: ShowCall = only_the_id,
) -> AsyncIterator[Engine]:
    """An engine that accepts calls until the block ends. Then it ends its calls and stops its processes.

    ``recordings``: a folder where the sandbox's carriers write a WAV of every call. ``show_call`` makes the view of a
    call that webhooks get.
    """
    log = log or LogSettings()
    limits = CallLimits(
        ring_timeout_s=config.sip.ring_timeout_s,
        queue_timeout_s=config.sip.queue_timeout_s,
        default_max_duration_s=_DEFAULT_MAX_DURATION_S,
    )
    for module in _IMPORTED_AHEAD:
        importlib.import_module(module)
    async with contextlib.AsyncExitStack() as closing:
        store = await open_store(config.store.url, show_call=show_call)
        closing.push_async_callback(store.aclose)
        webhooks = await closing.enter_async_context(_delivering(config.webhooks, store))
        supervisor = Supervisor(lines_per_worker=WorkerPlan.of(config.sip).lines)
        closing.push_async_callback(supervisor.close)
        engine: Engine  # gets the backends' events, and is built from the backends
        sandbox = SandboxBackend(
            supervisor,
            log=log,
            max_calls=config.sip.max_calls,
            recordings=recordings,
            on_event=lambda event: engine.deliver(event),
            on_lost=lambda attempt_id: engine.lost(attempt_id),
        )
        live = LiveBackend(
            supervisor,
            config=config,
            agents=_agents(config),
            log=log,
            on_event=lambda event: engine.deliver(event),
            on_lost=lambda attempt_id: engine.lost(attempt_id),
        )
        backends: dict[Environment, Backend] = {Environment.LIVE: live, Environment.TEST: sandbox}
        guard = Guard(config.guard)
        engine = Engine(backends=backends, store=store, keys=store, webhooks=webhooks, limits=limits, guard=guard)
        await engine.recover()
        if config.trunks:
            await asyncio.to_thread(numbering.load)
            await live.start()
        else:
            await sandbox.start()
        for work in (watch_over(engine.sweep), _keep(config.retention, store)):
            closing.callback(asyncio.create_task(work).cancel)
        closing.push_async_callback(engine.close)
        yield engine


@asynccontextmanager
async def _delivering(config: WebhooksConfig, store: Store) -> AsyncIterator[WebhookRegistry]:
    """The webhooks; events are delivered to them until the block ends."""
    sender = Sender(allow_private=config.allow_private)
    dispatcher = Dispatcher(store, sender.post)
    resolver = Resolver(allow_private=config.allow_private)  # a slow look-up does not hold up deliveries
    dispatcher.start()
    try:
        yield WebhookRegistry(store, allow_private=config.allow_private, resolver=resolver)
    finally:
        resolver.close()
        await dispatcher.close()
        await sender.aclose()


async def _keep(retention: RetentionConfig, store: Store) -> None:
    days = retention.transcripts_days
    conversations = timedelta(days=days) if days else None
    await keep_for(store, conversations=conversations, deliveries=timedelta(days=retention.deliveries_days))


def _agents(config: Config) -> UltravoxService | None:
    key = config.ultravox.api_key.get_secret_value()
    if not key:
        return None
    rate = config.ultravox.sample_rate
    return UltravoxService(
        UltravoxApi(config.ultravox.base_url, key),
        sample_rate_hz=None if rate == "auto" else rate,
        press_keys=config.ultravox.press_keys,
        hang_up_unjoined=config.ultravox.hang_up_unjoined,
    )
