from __future__ import annotations

import httpx

from engine.messages.events import Probed, Registration
from engine.records import Environment
from engine.sip.causes import refusal
from engine.trunks.trunks import ConfiguredTrunks, TrunkState
from tests.api.fakes import NOW, READING_KEY, TEST_KEY, FakeEngine
from tests.engine.samples import trunk


def states() -> list[TrunkState]:
    main = trunk(registrar="sip:a", username="me", password="hush", max_calls=3, probe_failures=1)
    trunks = ConfiguredTrunks([main], now=lambda: NOW)
    trunks.note(Registration(trunk="main", registered=True, code=200, reason="OK", expires_s=60))
    trunks.note(Probed(trunk="main", code=408, reason="no answer"))
    trunks.failed("main", refusal(503, "", retry_after_s=30))
    return [TrunkState(trunk=main, health=trunks.health()["main"], calls=2)]


async def test_a_trunk_shows_registration_probe_limits_and_why_it_is_not_up(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.trunk_states[Environment.LIVE] = states()
    response = await client.get("/api/trunks", headers={"Authorization": f"Bearer {READING_KEY}"})
    assert response.json() == {
        "trunks": [
            {
                "name": "main",
                "provider": "sip",
                "priority": 0,
                "weight": 1,
                "up": False,
                "state": "down, OPTIONS failed: 408 no answer",
                "calls": 2,
                "maxCalls": 3,
                "registration": {
                    "state": "registered",
                    "since": "2026-03-09T15:30:00.123Z",
                    "expiresAt": "2026-03-09T15:31:00.123Z",
                    "sip": {"code": 200, "reason": "OK"},
                },
                "probe": {"at": "2026-03-09T15:30:00.123Z", "sip": {"code": 408, "reason": "no answer"}, "failures": 1},
                "outUntil": "2026-03-09T15:30:30.123Z",
            }
        ]
    }


async def test_a_test_key_sees_none_of_the_live_trunks(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.trunk_states[Environment.LIVE] = states()
    response = await client.get("/api/trunks", headers={"Authorization": f"Bearer {TEST_KEY}"})
    assert response.json() == {"trunks": []}
