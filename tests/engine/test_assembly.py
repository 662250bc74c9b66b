from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIRST_EXCHANGE = """
import asyncio, contextlib, sys
from engine.assembly import running_engine
from engine.config.settings import Config
from engine.log import LogSettings
from media.errors import AgentError
from media.ultravox.rest import UltravoxApi

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
    writer.close()

async def main():
    config = Config.model_validate({"store": {"url": "sqlite:///" + sys.argv[1] + "/calls.db"}})
    async with running_engine(config, log=LogSettings(level="CRITICAL")):
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        before = set(sys.modules)
        for scheme in ("http", "https"):
            api = UltravoxApi(f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}", "key")
            with contextlib.suppress(AgentError):
                await api.get_call("a call")
            await api.aclose()
        print(*sorted(set(sys.modules) - before))
        server.close()

asyncio.run(main())
"""


def test_first_exchange_with_the_agent_service_imports_nothing(tmp_path: Path) -> None:
    """An import needs a descriptor, which may be missing by then."""
    command = [sys.executable, "-c", FIRST_EXCHANGE, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr
