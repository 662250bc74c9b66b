"""``trunkline check``: shows a configuration and its effects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import tomli_w
import typer

from api.cli.client import url_of
from engine.config.file import find_config, load_config
from engine.config.guard import ANYWHERE, GuardConfig
from engine.config.settings import Config
from engine.config.trunk import TrunkConfig
from engine.environments.worker_plan import WorkerPlan


def check(path: Path | None) -> None:
    """Print the configuration without its secrets. Raises ``ConfigError`` with every mistake."""
    config = load_config(path, os.environ)
    found = find_config(path, os.environ)
    settings = tomli_w.dumps(config.redacted())
    typer.echo("\n".join([f"# {found or 'no file: the defaults'}", settings, *forecast(config)]))


def forecast(config: Config) -> Iterator[str]:
    """What `trunkline serve` will do with the configuration, one line for each fact."""
    sip = config.sip
    yield f"API: {url_of(config.http)}, calls and keys kept in {config.store.url}."
    workers = WorkerPlan.of(sip).workers
    yield f"Calls: at most {sip.max_calls} at once, in {workers} workers; phones ring for {sip.ring_timeout_s:g} s."
    if not config.trunks:
        yield "Trunks: none, so tk_live_ keys can place no call; tk_test_ keys call in the sandbox."
    else:
        yield f"Guard: {', '.join(_guard(config.guard))}."
    yield from (f"Trunk {trunk.name}: {_way(trunk)}." for trunk in config.trunks)
    if config.ultravox.api_key:
        yield f"AI calls: through {config.ultravox.base_url}, audio at {_rate(config)}."
    elif config.trunks:
        yield "AI calls: only in the sandbox, because ultravox.api_key is not set; plain calls work."


def _way(trunk: TrunkConfig) -> str:
    parts = [f"INVITEs to {trunk.uri}", *(f"through {proxy}" for proxy in trunk.outbound_proxy)]
    if trunk.registrar:
        parts.append(f"registered at {trunk.registrar} as {trunk.username}")
    elif trunk.username:
        parts.append(f"as {trunk.username} when challenged")
    if trunk.first_hop.transport == "tls":
        parts.append("TLS" if trunk.tls.verify else "TLS with the certificate NOT verified (tls.verify)")
    srtp = "" if trunk.srtp == "off" else f", SRTP {trunk.srtp}"
    if srtp and trunk.srtp_without_tls and trunk.first_hop.transport != "tls":
        srtp += " with its keys in clear (srtp_without_tls)"
    return ", ".join([*parts, f"offering {' '.join(trunk.codecs)}{srtp}"])


def _guard(guard: GuardConfig) -> Iterator[str]:
    named = ", ".join(guard.countries).replace(ANYWHERE, "everywhere")
    yield f"calls go to {named or 'the country of the from number, which the client chooses (guard.countries)'}"
    yield f"from {' '.join(guard.callers) or 'any number (guard.callers)'}"
    quotas = {name: value for name, value in guard.model_dump().items() if isinstance(value, int) and value}
    yield ", ".join(f"{name} = {value}" for name, value in quotas.items()) or "without quotas"


def _rate(config: Config) -> str:
    rate = config.ultravox.sample_rate
    return "the codec's own rate" if rate == "auto" else f"{rate} Hz"
