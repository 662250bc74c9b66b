"""The plan of a load run: values that are checked when they are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from api.load.child import LoadFailed

SCENARIOS: Final = Path(__file__).parent / "scenarios"
_SHORTEST_CALL_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An engine that is running already. Its trunk must lead to ``sip_port`` and its Ultravox to ``agent_port``, both
    on this machine."""

    url: str
    key: str
    sip_port: int
    agent_port: int
    agent_key: str
    pid: int | None = None
    """Its control process, when it is on this machine. Without it, the report has no cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``calls`` at once, at most ``cps`` new ones a second, for ``seconds``; each lasts ``call_s``.

    Raises ``LoadFailed`` for impossible values.
    """

    calls: int = 10
    cps: float = 5.0
    seconds: float = 30.0
    call_s: float = 0.0
    """0: as long as keeps ``calls`` up at ``cps``, and 10 s at least."""
    plain: bool = False
    sample_rate: int | str = "auto"
    """Hz between the engine and the agent; the configuration checks it."""
    scenario: str = "answers"
    """A name in ``scenarios/``, or the path of a SIPp file."""

    def __post_init__(self) -> None:
        if self.calls < 1 or self.cps <= 0 or self.seconds <= 0 or self.call_s < 0:
            raise LoadFailed("A load needs at least one call, a rate and a time above 0.")
        self.scenario_file()

    @property
    def lasts_s(self) -> float:
        """How long each call lasts."""
        return self.call_s or max(self.calls / self.cps, _SHORTEST_CALL_S)

    @property
    def ramp_s(self) -> float:
        """Until all calls are up."""
        return min(self.calls / self.cps, self.seconds / 2)

    def scenario_file(self) -> Path:
        """Where SIPp's scenario is."""
        named = SCENARIOS / f"{self.scenario}.xml"
        if named.is_file():
            return named
        if Path(self.scenario).is_file():
            return Path(self.scenario)
        names = ", ".join(sorted(path.stem for path in SCENARIOS.glob("*.xml")))
        raise LoadFailed(f"There is no scenario {self.scenario!r}: expected {names}, or the path of a SIPp file.")

    def render(self) -> dict[str, Any]:
        return {**asdict(self), "call_s": self.lasts_s}
