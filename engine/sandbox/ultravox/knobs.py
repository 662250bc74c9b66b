"""The simulator's misbehaviour, as frozen values. ``POST /simulator/knobs`` takes them as camelCase JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

_JSON = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

Deed = Literal[
    "cut",  # the TCP connection is reset, no close frame
    "close",  # close with `code`; the call ends as `system_error`
    "clear",  # a bare playback_clear_buffer
    "interrupt",  # as if the user had barged in
    "text",  # send `text` as it is: garbage, unknown types, anything
    "empty",  # an empty binary message
    "byte",  # a binary message of one byte: half a sample
    "odd",  # `ms` of tone in messages of an odd size
    "burst",  # `ms` of tone in one message
    "say",  # the agent says `text`
    "tool",  # invoke the client tool `text` without parameters
    "ping",  # a WebSocket ping
    "hang-up",  # the agent hangs up, saying `text` first
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mischief:
    """One deed, ``after_s`` seconds after the join."""

    __pydantic_config__: ClassVar[ConfigDict] = _JSON

    after_s: float
    do: Deed
    text: str = ""
    code: int = 1008
    ms: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateReply:
    """How one create request is answered. A status other than 201 refuses it; ``body`` replaces the 201's JSON."""

    __pydantic_config__: ClassVar[ConfigDict] = _JSON

    status: int = 201
    retry_after: str | None = None
    delay_s: float = 0.0
    join_url: bool = True
    body: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKnobs:
    """How a call behaves once created."""

    __pydantic_config__: ClassVar[ConfigDict] = _JSON

    greeting_delay_s: float = 0.3
    """The delay of the first words when the request names none."""
    thinking_s: float = 0.3
    """From the end of the user's turn to the agent's next line."""
    call_started_delay_s: float = 0.0
    quiet: bool = False
    """Say only what the test asks for."""
    echo: bool = False
    """Send the caller's audio straight back instead of talking (equal rates only)."""
    farewell: Literal["sent", "played"] = "sent"
    """Close as soon as the last words are sent, before the client has played them; or once they are played."""
    transcript_before_clear: bool = False
    """On barge-in, send the truncated transcript before ``playback_clear_buffer``, not after."""
    deltas: Literal["bare", "empty-text", "null-text"] = "bare"
    """The value of ``text`` in a message with a ``delta``."""
    blank_ordinals: bool = False
    """Before each agent turn, a turn of white space."""
    second_join_closes: bool = False
    """Refuse a second join with close code 4409 instead of HTTP 409."""
    echo_close: bool = True
    """Answer a client's close frame."""
    end_reason_after_s: float = 0.0
    """How long ``GET`` shows an ended call as live."""
    mischief: tuple[Mischief, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """All knobs. Each create request uses up one of ``creates``; ``call`` applies to calls created later."""

    __pydantic_config__: ClassVar[ConfigDict] = _JSON

    creates: tuple[CreateReply, ...] = ()
    call: CallKnobs = CallKnobs()
    max_calls: int | None = None
    """Calls not yet ended; one more is refused with 429. Ultravox's pay-as-you-go plan has 5."""
    creates_per_s: int | None = None
    creates_per_min: int | None = None

    def next_create(self) -> tuple[CreateReply, Knobs]:
        """How to answer this create request, and the knobs for the next one."""
        if not self.creates:
            return CreateReply(), self
        return self.creates[0], replace(self, creates=self.creates[1:])


_KNOBS = TypeAdapter(Knobs)


def read_knobs(json: bytes) -> Knobs:
    """Knobs from JSON; a missing one has its default. Raises ``ValueError`` that says what is wrong."""
    return _KNOBS.validate_json(json)


def show_knobs(knobs: Knobs) -> dict[str, Any]:
    shown: dict[str, Any] = _KNOBS.dump_python(knobs, mode="json", by_alias=True)
    return shown
