from __future__ import annotations

import pytest

from media.errors import AgentBusy, AgentError, AgentRefused, AgentUnreachable, FormatError, MediaError


@pytest.mark.parametrize(
    "error", [AgentRefused("No.", status=401), AgentBusy("Later.", status=429), AgentUnreachable("Nobody.")]
)
def test_agent_error_is_caught_as_one_and_says_its_sentence(error: AgentError) -> None:
    assert isinstance(error, AgentError)
    assert str(error) in ("No.", "Later.", "Nobody.")


def test_refusal_and_business_carry_what_the_service_said() -> None:
    busy = AgentBusy("Later.", status=503, retry_after_s=2.5)
    assert (AgentRefused("No.", status=402).status, busy.status, busy.retry_after_s) == (402, 503, 2.5)


def test_wrong_format_is_a_value_error_too() -> None:
    assert issubclass(FormatError, MediaError)
    assert issubclass(FormatError, ValueError)
