from __future__ import annotations

import inspect

from api import ports
from engine.engine import Engine
from tests.api.fakes import FakeEngine


def test_the_engine_and_its_fake_have_what_the_api_needs() -> None:
    wanted = {name for cls in (ports.Engine, ports.Keys) for name in vars(cls) if not name.startswith("_")}
    for implementation in (Engine, FakeEngine):
        for name in wanted:
            asked = list(inspect.signature(getattr(ports.Engine, name)).parameters)
            assert list(inspect.signature(getattr(implementation, name)).parameters) == asked


def accepts(engine: ports.Engine) -> None:
    """Checked by mypy alone."""


def _the_types_agree(engine: Engine, fake: FakeEngine) -> None:
    accepts(engine)
    accepts(fake)
