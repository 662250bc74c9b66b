"""Several PJSIPs in one process, each with its own tables.

The stock build's tables hold four calls, and a process costs more than four calls do: memory, wake-ups, caches. The
tables are data of the shared library. A copy of its file is another library with other tables. For each copy, the
binding and this package, whose classes derive from the binding's, are imported again.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pjsua2 as pj

import engine
from engine.errors import SipError
from engine.messages.settings import StackSettings
from engine.pjsip.stack import SipStack
from engine.pjsip_limits import LINES_PER_INSTANCE

_stacks: list[type[SipStack]] = [SipStack]
_modules: list[dict[str, ModuleType]] = []
"""The modules imported for each copy. They are kept, because SWIG's types go with their module."""


def load(lines: int) -> None:
    """Load enough copies for ``lines`` calls. Each takes a tenth of a second, so this is to be called before any fork.

    Raises ``SipError`` when the system does not allow a copy to be loaded.
    """
    with ExitStack() as copies:
        while len(_stacks) * LINES_PER_INSTANCE < lines:
            try:
                _load_copy(copies)
            except (OSError, ImportError) as error:
                hint = f"Set sip.lines_per_worker to {LINES_PER_INSTANCE}."
                raise SipError(f"A second PJSIP cannot be loaded: {error}. {hint}") from error


def start(settings: StackSettings, lines: int, link: Callable[[int, bytes], None]) -> list[SipStack]:
    """As many stacks as ``lines`` calls need, of those that were loaded, each with its share of the RTP ports.

    ``link`` is given the place of the stack that sends, and its message.
    """
    stacks: list[SipStack] = []
    for place, stack in enumerate(_stacks):
        missing = lines - sum(one.lines for one in stacks)
        if missing > 0:  # a site's own build may hold more than the stock one
            stacks.append(stack(settings, lines=missing, link=partial(link, place)))
    share = (settings.rtp_last - settings.rtp_first + 1) // len(stacks) // 2 * 2
    for place, one in enumerate(stacks):
        first = settings.rtp_first + place * share
        one.use_rtp_ports(first, first + share - 1)
    return stacks


def _load_copy(copies: ExitStack) -> None:
    """Import a copy of the library, with all modules built on it, in place of the first; then restore the first."""
    library = pj._pjsua2
    first = _take_out()
    try:
        loader = ExtensionFileLoader(library.__name__, _copy(str(library.__file__), copies))
        spec = spec_from_file_location(loader.name, loader.path, loader=loader)
        assert spec is not None
        sys.modules[loader.name] = copy = module_from_spec(spec)
        loader.exec_module(copy)
        _stacks.append(importlib.import_module(SipStack.__module__).SipStack)
        _modules.append(_take_out())
    finally:
        sys.modules.update(first)
        vars(engine)["pjsip"] = first["engine.pjsip"]


def _take_out() -> dict[str, ModuleType]:
    """Remove all modules that belong to one library from the imported ones, and return them."""
    roots = ("pjsua2", "_pjsua2", "engine.pjsip")
    ours = [
        name
        for name in sys.modules
        if name.startswith(("swig_runtime_data", *(f"{root}." for root in roots))) or name in roots
    ]
    return {name: sys.modules.pop(name) for name in ours if name != __name__}


def _copy(path: str, copies: ExitStack) -> str:
    """The path of a copy that disappears with the process. Each stays open until all are loaded, so that no two share a
    path: the loader knows by the path what it has loaded already."""
    copy = os.memfd_create("pjsua2")
    copies.callback(os.close, copy)
    with open(path, "rb") as source:
        while os.sendfile(copy, source.fileno(), None, 2**30):
            pass
    return f"/proc/self/fd/{copy}"
