from __future__ import annotations

import inspect

from api import ports
from engine.engine import Engine
from engine.webhooks.registry import WebhookRegistry
from tests.api.fakes import FakeEngine


def test_the_engine_and_its_fake_have_what_the_api_needs() -> None:
    ports_of = {
        Engine: (ports.Engine, ports.Keys),
        FakeEngine: (ports.Engine, ports.Keys),
        WebhookRegistry: (ports.Webhooks,),
    }
    for implementation, needs in ports_of.items():
        for name, method in (entry for port in needs for entry in vars(port).items()):
            if inspect.isfunction(method) and not name.startswith("_"):
                asked = list(inspect.signature(method).parameters)
                assert list(inspect.signature(getattr(implementation, name)).parameters) == asked


def accepts(engine: ports.Engine) -> None:
    """Checked by mypy alone."""


def _the_types_agree(engine: Engine, fake: FakeEngine) -> None:
    accepts(engine)
    accepts(fake)
