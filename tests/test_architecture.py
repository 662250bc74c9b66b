"""The sizes, the imports and the layout that the project holds itself to."""

from __future__ import annotations

import ast
import re
import statistics
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for package in ("api", "engine", "media") for path in (ROOT / package).rglob("*.py"))
MIGRATIONS = "engine/store/migrations"

IMPORTERS = {
    "pjsua2": ["engine/pjsip/"],
    "websockets": ["media/ultravox/websocket.py", "media/ultravox/frames.py", "engine/sandbox/"],
    "httpx": ["media/ultravox/rest.py", "engine/webhooks/", "api/cli/", "api/load/"],
    "matplotlib": ["api/load/page.py"],
    "standardwebhooks": ["engine/webhooks/sender.py"],
    "phonenumbers": ["engine/numbering.py"],
    "dns": ["engine/edge/"],
    "soxr": ["engine/sandbox/speech.py"],
    "sqlalchemy": ["engine/store/"],
    "alembic": ["engine/store/"],
    "prometheus_client": ["engine/metrics.py"],
    "starlette": ["api/", "engine/sandbox/"],
    "uvicorn": ["api/", "engine/sandbox/"],
    "pydantic": [
        "engine/config/settings.py",
        "engine/config/file.py",
        "engine/config/values.py",
        "engine/config/guard.py",
        "engine/config/addressing.py",
        "engine/config/trunk.py",
        "engine/sandbox/ultravox/",
        "api/",
    ],
    "typer": ["api/cli/"],
    "rich": ["api/cli/"],
}
"""Who alone may import a library."""

TESTED_ELSEWHERE = {
    "engine/edge/clean.py": "tests/engine/edge/test_edge.py",
    "engine/edge/common.py": "tests/engine/edge/test_edge.py",
    "engine/edge/dialogs.py": "tests/engine/edge/test_edge.py",
    "engine/edge/farewells.py": "tests/engine/edge/test_edge.py",
    "engine/edge/incoming.py": "tests/engine/edge/test_edge.py",
    "engine/edge/outgoing.py": "tests/engine/edge/test_edge.py",
    "engine/edge/process.py": "tests/sip/test_edge_process.py",
    "engine/edge/registrations.py": "tests/engine/edge/test_edge.py",
    "engine/edge/responses.py": "tests/engine/edge/test_edge.py",
    "engine/edge/rewriting.py": "tests/engine/edge/test_edge.py",
    "engine/edge/tls.py": "tests/sip/test_secure_calls.py",
    "engine/edge/transactions.py": "tests/engine/edge/test_edge.py",
    "engine/messages/link_listener.py": "tests/sip/test_edge_process.py",
    "engine/processes/edge_handle.py": "tests/sip/test_edge_process.py",
    "engine/worker/edge_link.py": "tests/sip/test_edge_process.py",
    "engine/pjsip/leg_rtp.py": "tests/sip/test_rtp_source.py",
    "api/cli/failure.py": "tests/api/cli/test_commands.py",
    "api/cli/load_screen.py": "tests/api/cli/test_load.py",
    "api/load/agent.py": "tests/api/cli/test_load.py",
    "api/load/child.py": "tests/api/cli/test_load.py",
    "api/load/machine.py": "tests/api/load/test_bench.py",
    "api/load/rtp_peer.py": "tests/api/cli/test_load.py",
    "api/load/run.py": "tests/api/cli/test_load.py",
    "api/load/sipp.py": "tests/api/cli/test_load.py",
    "api/models.py": "tests/api/test_call_request.py",
    "api/operations.py": "tests/api/test_auth.py",
    "engine/ultravox_service.py": "tests/sip/test_ai_calls.py",
    "engine/config/file.py": "tests/engine/config/test_settings.py",
    "engine/config/values.py": "tests/engine/config/test_settings.py",
    "engine/calls/attempts.py": "tests/engine/calls/test_call_failover.py",
    "engine/config/guard.py": "tests/engine/config/test_settings.py",
    "engine/config/addressing.py": "tests/engine/config/test_settings.py",
    "engine/keys/registry.py": "tests/api/test_keys.py",
    "engine/environments/live.py": "tests/sip/test_plain_calls.py",
    "engine/processes/fork_server.py": "tests/engine/processes/test_supervisor.py",
    "engine/outcome.py": "tests/engine/sip/test_causes.py",
    "engine/processes/worker_handle.py": "tests/engine/processes/test_pool.py",
    "engine/readiness.py": "tests/engine/test_engine.py",
    "engine/calls/recovery.py": "tests/engine/test_engine.py",
    "engine/worker/registrar.py": "tests/sip/test_registration.py",
    "engine/processes/registrar_handle.py": "tests/sip/test_registration.py",
    "engine/pjsip/codec_switch.py": "tests/sip/test_carrier_media.py",
    "engine/sandbox/carrier.py": "tests/engine/sandbox/test_backend.py",
    "engine/sandbox/ultravox/account.py": "tests/engine/sandbox/ultravox/test_rest.py",
    "engine/sandbox/ultravox/agent.py": "tests/engine/sandbox/ultravox/test_conversation.py",
    "engine/sandbox/ultravox/client_effects.py": "tests/engine/sandbox/ultravox/test_conversation.py",
    "engine/pjsip/conference_bridge.py": "tests/sip/test_conference_bridge.py",
    "engine/pjsip/ended_legs.py": "tests/sip/test_plain_calls.py",
    "engine/pjsip/instances.py": "tests/sip/test_instances.py",
    "engine/pjsip/leg.py": "tests/sip/test_plain_calls.py",
    "engine/pjsip/library.py": "tests/sip/",
    "engine/pjsip/registration.py": "tests/sip/test_registration.py",
    "engine/pjsip/rtp_counters.py": "tests/sip/test_plain_calls.py",
    "engine/pjsip/rtp_stream.py": "tests/sip/test_ai_calls.py",
    "engine/pjsip/stack.py": "tests/sip/test_plain_calls.py",
    "engine/store/calls.py": "tests/engine/store/test_contract.py",
    "engine/store/claims.py": "tests/engine/store/test_contract.py",
    "engine/store/keys.py": "tests/engine/store/test_contract.py",
    "engine/store/memory.py": "tests/engine/store/test_contract.py",
    "engine/store/outage.py": "tests/engine/store/test_sqlite.py",
    "engine/config/trunk.py": "tests/engine/config/test_settings.py",
    "engine/worker/process.py": "tests/sip/",
}
"""Modules without a test file of their own, and where their promises are tested."""

VALUES_ONLY = {
    "engine/messages/edge.py",
    "engine/messages/commands.py",
    "engine/errors.py",
    "engine/messages/events.py",
    "engine/messages/forks.py",
    "engine/agent_service.py",
    "engine/calls/call_store.py",
    "engine/keys/key.py",
    "engine/webhooks/delivery.py",
    "engine/messages/settings.py",
    "engine/environments/backend.py",
    "engine/records.py",
    "engine/sip/leg_port.py",
}
"""Modules that declare values and promise no behaviour."""

TOO_LONG: dict[str, str] = {}
"""Modules and functions beyond the limits, and why."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines, the docstring not counted."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                length -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            yield f"{name_of(path)}:{node.name}", length


def writers(path: Path, attribute: str) -> set[str]:
    """The functions of a module that assign an attribute of this name, of whatever object."""
    return {
        function.name
        for function in ast.walk(tree_of(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr == attribute and isinstance(node.ctx, ast.Store | ast.Del)
    }


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def imported(path: Path) -> set[str]:
    """The packages that the module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_no_module_is_longer_than_500_lines() -> None:
    assert [name_of(path) for path in MODULES if lines(path) > 500 and name_of(path) not in TOO_LONG] == []


def test_no_function_is_longer_than_60_lines() -> None:
    long = [f"{name} {length}" for path in MODULES for name, length in functions(path) if length > 60]
    assert [entry for entry in long if entry.split()[0] not in TOO_LONG] == []


def test_most_modules_and_functions_are_short() -> None:
    assert statistics.median(lines(path) for path in MODULES) <= 150
    lengths = [length for path in MODULES for _, length in functions(path)]
    assert statistics.median(lengths) <= 10
    assert statistics.quantiles(lengths, n=10)[-1] <= 35


@pytest.mark.parametrize("library", IMPORTERS)
def test_library_is_imported_in_its_own_place_only(library: str) -> None:
    importers = [name_of(path) for path in MODULES if library in imported(path)]
    assert [name for name in importers if not any(name.startswith(place) for place in IMPORTERS[library])] == []


def test_no_two_modules_share_the_start_of_their_docstring() -> None:
    """One module, one concept: each says its own, in a docstring that starts with one sentence."""
    sentences = {name_of(path): (ast.get_docstring(tree_of(path)) or "").partition("\n\n")[0] for path in MODULES}
    assert [name for name, sentence in sentences.items() if not sentence] == []
    assert len(set(sentences.values())) == len(sentences)


def test_every_module_has_a_test_file_of_its_name() -> None:
    untested = {
        name_of(path)
        for path in MODULES
        if path.name not in ("__init__.py", "__main__.py") and not name_of(path).startswith(MIGRATIONS)
        if not (ROOT / "tests" / path.parent.relative_to(ROOT) / f"test_{path.name}").exists()
    }
    assert untested == {*TESTED_ELSEWHERE, *VALUES_ONLY}
    assert [where for where in TESTED_ELSEWHERE.values() if not (ROOT / where).exists()] == []


def test_a_calls_state_is_written_in_one_place_where_the_table_decides() -> None:
    where = {name_of(path): writers(path, "_state") for path in MODULES if name_of(path).startswith("engine/")}
    assert {name: functions for name, functions in where.items() if functions} == {
        "engine/calls/call.py": {"__init__", "_move"}
    }


def test_every_source_folder_is_a_package() -> None:
    folders = {path.parent for path in MODULES if not name_of(path).startswith(MIGRATIONS)}
    assert sorted(name_of(folder) for folder in folders if not (folder / "__init__.py").exists()) == []


def test_lock_file_holds_every_dependency_and_names_no_package_host() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert [word for word in ("://", "--index-url", "--extra-index-url", "--find-links") if word in lock] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = [re.split(r"[\[><=]", requirement)[0] for requirement in wanted]
    assert [name for name in names if not re.search(rf"^{re.escape(name)}==", lock, re.MULTILINE)] == []
