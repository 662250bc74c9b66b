"""``trunkline keys``, and temporary keys for one command."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer
from rich import box
from rich.table import Table

from api.cli.failure import CommandFailed
from api.cli.screen import console
from engine.config.file import load_config
from engine.config.settings import Config
from engine.keys import keys
from engine.keys.key import ApiKey
from engine.records import Environment
from engine.store import Store, open_store

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def create(config: Path | None, *, name: str, test: bool, scopes: str, rate_per_s: float, expires: str | None) -> str:
    """Make a key and return it; it cannot be shown again."""
    now = datetime.now(UTC)
    try:
        secret, key = keys.mint(
            Environment.TEST if test else Environment.LIVE,
            name,
            now=now,
            scopes=[scope.strip() for scope in scopes.split(",")],
            rate_per_s=rate_per_s,
            expires_at=_moment(expires, now) if expires is not None else None,
        )
    except ValueError as error:
        raise typer.BadParameter(f"no key was made: {error}.") from None

    async def add() -> None:
        async with _store(load_config(config, os.environ)) as store:
            await store.add_key(key)

    asyncio.run(add())
    return secret


def show_all(config: Path | None) -> None:
    """Print every key, oldest first."""

    async def read() -> list[ApiKey]:
        async with _store(load_config(config, os.environ)) as store:
            return list(await store.list_keys())

    table = Table("prefix", "name", "scopes", "rate", "created", "last used", "state", "id", box=box.SIMPLE)
    now = datetime.now(UTC)
    for key in asyncio.run(read()):
        used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
        scopes = " ".join(sorted(key.scopes))
        rate = f"{key.rate_per_s:g}/s"
        table.add_row(
            key.prefix, key.name, scopes, rate, f"{key.created_at:%Y-%m-%d %H:%M}", used, _state(key, now), key.id
        )
    console().print(table)


def revoke(config: Path | None, id_or_prefix: str) -> str:
    """Revoke a key; returns its prefix and name for a message."""

    async def end() -> ApiKey | None:
        async with _store(load_config(config, os.environ)) as store:
            return await store.revoke_key(id_or_prefix, datetime.now(UTC))

    key = asyncio.run(end())
    if key is None:
        raise CommandFailed(f"No single key has the id or prefix {id_or_prefix!r}; see `trunkline keys list`.")
    return f"{key.prefix} ({key.name})"


async def add_key(
    config: Config,
    environment: Environment,
    name: str,
    valid: timedelta,
    *,
    rate_per_s: float = keys.DEFAULT_RATE_PER_S,
) -> tuple[str, ApiKey]:
    """A key in the configuration's store that ends after ``valid``."""
    now = datetime.now(UTC)
    secret, key = keys.mint(environment, name, now=now, expires_at=now + valid, rate_per_s=rate_per_s)
    async with _store(config) as store:
        await store.add_key(key)
    return secret, key


@asynccontextmanager
async def temporary_key(config: Config, environment: Environment, name: str, valid: timedelta) -> AsyncIterator[str]:
    """A key that is revoked at the end of the block. If that fails, it expires after ``valid``."""
    secret, key = await add_key(config, environment, name, valid)
    try:
        yield secret
    finally:
        async with _store(config) as store:
            await store.revoke_key(key.id, datetime.now(UTC))


@asynccontextmanager
async def _store(config: Config) -> AsyncIterator[Store]:
    store = await open_store(config.store.url)
    try:
        yield store
    finally:
        await store.aclose()


def _moment(text: str, now: datetime) -> datetime:
    """``12h`` from ``now``, or the start of a date, or a time of ISO 8601; UTC unless it says otherwise."""
    if match := re.fullmatch(r"([0-9]{1,6})([smhd])", text):
        return now + timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a time such as 12h or 90d, or a date such as 2030-01-31, got {text!r}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= now:
        raise ValueError(f"{text} is over")
    return moment.astimezone(UTC)


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "in use"
    return f"{'in use, ends' if key.expires_at > now else 'ended'} {key.expires_at:%Y-%m-%d %H:%M}"
