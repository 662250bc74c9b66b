"""schemathesis reads the OpenAPI document of a real server and asks it everything, with a bad key and a good one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.sip.server import ServerProcess

SETTINGS = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
positive_data_acceptance.enabled = false
"""
"""503 refuses the call that would be one too many; that it is documented where it comes is checked as of any status.
And a schema cannot say every rule: no NUL deep inside, a tool's placeholders, a glob that selects some event."""


async def run(server: ServerProcess, key: str, *options: str) -> None:
    """Fails with all that schemathesis says."""
    settings = server.folder / "schemathesis.toml"
    settings.write_text(SETTINGS)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings)),
        *("run", f"{server.client.base_url}/openapi.json", "--header", f"Authorization: Bearer {key}"),
        *("--seed", "1", "--generation-database", "none", "--no-color", *options),
        # An open stream would be read to its end; the events of a call have tests of their own.
        *("--exclude-path-regex", "/events$"),
        cwd=server.folder,  # it leaves files
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@pytest.mark.sip
@pytest.mark.alone
async def test_schemathesis_finds_no_answer_that_is_not_documented(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "[sip]\nmax_calls = 4\n")
    await server.mint(scopes="*,keys:manage")
    async with server:
        await run(server, "tk_test_" + "x" * 43, "--phases", "fuzzing", "--max-examples", "3")
        await run(server, server.key, "--phases", "coverage,fuzzing", "--max-examples", "5")
