"""Every command with its options: one function for each, which imports its modules when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="A self-hosted telephony engine: an AI agent on the phone through your own SIP trunk.",
    rich_markup_mode=None,  # `--help` is much quicker without it
    pretty_exceptions_enable=False,  # they would print local variables, and so secrets
    add_completion=False,
    no_args_is_help=True,
)
keys = typer.Typer(help="API keys: create, list, revoke.", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(keys, name="keys")
webhooks = typer.Typer(help="Webhooks: list, test.", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(webhooks, name="webhooks")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="The file; else TRUNKLINE_CONFIG, else ./trunkline.toml, else only the sandbox."),
]


@app.command()
def serve(
    config: ConfigOption = None,
    welcome: Annotated[
        bool, typer.Option("--welcome", help="Without a configuration: begin with a sandbox AI call to watch.")
    ] = False,
) -> None:
    """Take calls until interrupted."""
    from api.cli.serve import serve

    serve(config, welcome=welcome)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to leave the WAV: the agent left, the callee right.")] = Path(
        "trunkline-demo.wav"
    ),
) -> None:
    """Place one AI call in the sandbox and keep what both sides said."""
    from api.cli.demo import demo

    demo(out)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Name every mistake of a configuration, or print what it says and what will happen with it."""
    from api.cli.check import check

    check(config)


@app.command()
def call(
    to: Annotated[str, typer.Option(help="The number to call, E.164.")],
    from_number: Annotated[str, typer.Option("--from", help="The caller's number, E.164.")],
    prompt: Annotated[str | None, typer.Option(help="The agent's system prompt; without it a plain call.")] = None,
    voice: Annotated[str | None, typer.Option(help="The agent's voice.")] = None,
    model: Annotated[str | None, typer.Option(help="The agent's model.")] = None,
    first_speaker: Annotated[str | None, typer.Option(help="agent or user.")] = None,
    max_duration: Annotated[str | None, typer.Option(help="The longest the call may last, such as 300s.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="TRUNKLINE_KEY", help="An API key; else one is made for this call.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Call in the sandbox though there are trunks.")] = False,
    url: Annotated[str | None, typer.Option(help="The server; else the configuration's [http].")] = None,
    config: ConfigOption = None,
) -> None:
    """Place a call through the running server and show its progress. Ctrl-C hangs up."""
    from api.cli.call import call

    wanted = {
        "from": from_number,
        "to": to,
        "systemPrompt": prompt,
        "voice": voice,
        "model": model,
        "firstSpeaker": first_speaker,
        "maxDuration": max_duration,
    }
    body = {name: value for name, value in wanted.items() if value is not None}
    raise typer.Exit(0 if call(config, body, key=key, test=test, url=url) else 1)


@app.command()
def trunks(
    key: Annotated[
        str | None, typer.Option(envvar="TRUNKLINE_KEY", help="An API key; else one is made for the moment.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="The server; else the configuration's [http].")] = None,
    config: ConfigOption = None,
) -> None:
    """Show the running server's trunks: up or not and why, registrations, probes, limits."""
    from api.cli.trunks import show

    raise typer.Exit(0 if show(config, key=key, url=url) else 1)


@app.command()
def load(
    calls: Annotated[int, typer.Option(help="How many at once.")] = 10,
    cps: Annotated[float, typer.Option(help="New calls a second, at most.")] = 5.0,
    seconds: Annotated[float, typer.Option(help="For how long calls are placed.")] = 30.0,
    call_seconds: Annotated[float, typer.Option(help="How long a call lasts; 0: calls / cps, and 10 at least.")] = 0.0,
    plain: Annotated[bool, typer.Option("--plain", help="Calls without an agent.")] = False,
    rate: Annotated[str, typer.Option(help="Hz between engine and agent: auto, 8000, 16000, 24000 or 48000.")] = "auto",
    scenario: Annotated[str, typer.Option(help="What the far end does: a name, or a SIPp file.")] = "answers",
    find_limit: Annotated[bool, typer.Option("--find-limit", help="Raise the calls until the quality breaks.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Leave the report here.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Leave the report with plots here.")] = None,
    url: Annotated[str | None, typer.Option(help="An engine that runs already; else one is started.")] = None,
    key: Annotated[str, typer.Option(envvar="TRUNKLINE_KEY", help="With --url: its API key.")] = "",
    sip_port: Annotated[int, typer.Option(help="With --url: where its trunk leads to on this machine.")] = 5070,
    agent_port: Annotated[int, typer.Option(help="With --url: where its ultravox.base_url leads to.")] = 5080,
    agent_key: Annotated[str, typer.Option(help="With --url: its ultravox.api_key.")] = "load",
    pid: Annotated[int | None, typer.Option(help="With --url: its process, to measure what it costs.")] = None,
) -> None:
    """Drive an engine hard with SIPp and a simulated Ultravox, and measure at the far ends what it does."""
    from api.cli.load import load
    from api.load.plan import Plan, Running

    plan = Plan(
        calls=calls,
        cps=cps,
        seconds=seconds,
        call_s=call_seconds,
        plain=plain,
        sample_rate=int(rate) if rate.isdigit() else rate,
        scenario=scenario,
    )
    running = url and Running(url=url, key=key, sip_port=sip_port, agent_port=agent_port, agent_key=agent_key, pid=pid)
    good = load(plan, running=running or None, find=find_limit, json_file=json_file, html_file=html_file)
    raise typer.Exit(0 if good else 1)


@app.command()
def bench(
    repeats: Annotated[int, typer.Option(min=1, help="How often the whole set is measured.")] = 2,
    scale: Annotated[float, typer.Option(min=0.01, max=1.0, help="Less than 1: fewer calls, less time.")] = 1.0,
    compare: Annotated[bool, typer.Option("--compare", help="Only show the last two results side by side.")] = False,
    growth: Annotated[
        bool,
        typer.Option("--growth", help="What a call costs with 1 to 120 at once, as growth.json and growth.svg."),
    ] = False,
    results: Annotated[Path, typer.Option(help="Where results are appended.")] = Path("bench/results.jsonl"),
) -> None:
    """Measure the fixed set of figures that the design promises, three to four minutes a repeat."""
    from api.cli import bench

    if compare:
        bench.compare(results)
    elif growth:
        bench.growth(results.parent)
    else:
        bench.bench(results, repeats=repeats, scale=scale)


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Option(help="Who or what the key is for.")],
    test: Annotated[bool, typer.Option("--test", help="A key for the sandbox (tk_test_), not for real calls.")] = False,
    scopes: Annotated[
        str, typer.Option(help="What it may do, with commas: voice:call,voice:read,…; * is all but keys:manage.")
    ] = "*",
    rate: Annotated[float, typer.Option("--rate-limit", "--rate", help="Requests per second.")] = 10.0,
    expires: Annotated[str | None, typer.Option(help="When it ends: a time such as 12h or 90d, or a date.")] = None,
    config: ConfigOption = None,
) -> None:
    """Make a key and print it, alone, this once: only its hash is kept."""
    from api.cli.keys import create

    typer.echo(create(config, name=name, test=test, scopes=scopes, rate_per_s=rate, expires=expires))


@keys.command("list")
def keys_list(config: ConfigOption = None) -> None:
    """Show every key."""
    from api.cli.keys import show_all

    show_all(config)


@keys.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="The key's id, or its prefix as `trunkline keys list` shows it.")],
    config: ConfigOption = None,
) -> None:
    """End a key at once."""
    from api.cli.keys import revoke

    typer.echo(f"Revoked {revoke(config, key)}.")


@webhooks.command("list")
def webhooks_list(config: ConfigOption = None) -> None:
    """Show every webhook, without its secret."""
    from api.cli.webhooks import show_all

    show_all(config)


@webhooks.command("test")
def webhooks_test(
    webhook: Annotated[str, typer.Argument(help="The webhook's id, whk_….")],
    config: ConfigOption = None,
) -> None:
    """Send a signed event of the type webhook.test, once, and say what the endpoint answered."""
    from api.cli.webhooks import send_test

    send_test(config, webhook)
