from __future__ import annotations

import httpx
import pytest

from api import problems
from api.problems import ENGINE_PROBLEMS, INTERNAL_ERROR
from engine import errors
from engine.errors import ConfigError, NoCapacity, SipError, TrunklineError, TrunkUnavailable
from tests.api.fakes import FakeEngine

BODY = {"from": "+14155559876", "to": "+14155551234"}
TREE = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, TrunklineError)]


def test_every_leaf_of_the_engines_errors_is_in_the_table() -> None:
    leaves = {cls for cls in TREE if not any(other is not cls and issubclass(other, cls) for other in TREE)}
    assert leaves == set(ENGINE_PROBLEMS)


def test_slugs_are_unique() -> None:
    kinds = [value for value in vars(problems).values() if isinstance(value, problems.Kind)]
    assert len({kind.slug for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("error", "status", "slug", "retry_after"),
    [
        (NoCapacity("All 32 lines are in use.", retry_after_s=2), 503, "no-capacity", "2"),
        (TrunkUnavailable("No trunk is up.", retry_after_s=0), 503, "trunk-unavailable", "1"),
        (errors.GuardRefused("emergency", "No."), 403, "call-not-allowed", None),
        (errors.QuotaReached("guard.key_calls_per_day", "No.", retry_after_s=7), 429, "rate-limited", "7"),
        (SipError("PJSIP said no"), 500, "internal-error", None),
        (ConfigError("trunkline.toml", [("sip.port", "secret")]), 500, "internal-error", None),
        (errors.EngineError("worker said no"), 500, "internal-error", None),
    ],
)
async def test_engine_error_is_answered_with_its_problem(
    client: httpx.AsyncClient,
    engine: FakeEngine,
    error: Exception,
    status: int,
    slug: str,
    retry_after: str | None,
) -> None:
    engine.refusal = error
    response = await client.post("/api/voice", json=BODY)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == f"https://trunkline.dev/errors/{slug}"
    assert response.headers.get("retry-after") == retry_after
    assert problem.get("rule") == getattr(error, "rule", None)
    assert (problem["detail"] == str(error)) == (status != INTERNAL_ERROR.status)
