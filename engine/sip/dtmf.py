"""Telephone keys as text: gathers a far end's digits into bursts, and reads the keys that an agent asks to press.

A digit is one of RFC 4733 §3.2's DTMF events 0 to 15. Digits may be a PIN: no log line and no event holds them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

BURST_PAUSE_S: Final = 1.5
"""A burst is over after this long without another digit."""
MAX_KEYS: Final = 32
"""The longest burst, and the most keys that an agent may press at once."""
PAUSES: Final = "w,"
"""The characters that mean a wait of ``PAUSE_S`` among keys to press."""
PAUSE_S: Final = 0.5

DIGITS: Final = "0123456789*#ABCD"
_SIGNALS: Final = {**{digit: digit for digit in DIGITS}, **{str(code): DIGITS[code] for code in range(10, 16)}}
_TERMINATOR = "#"
_KEYS = re.compile(rf"[0-9*#A-D{PAUSES}]{{1,{MAX_KEYS}}}")
_SEPARATORS = re.compile(r"[\s()./-]")

PRESS_KEYS: Final = "pressKeys"
PRESS_KEYS_TOOL: Final[Mapping[str, Any]] = {
    "modelToolName": PRESS_KEYS,
    "description": (
        "Presses keys on the telephone's keypad. Use it when an automated menu asks you to press a key, to dial an "
        "extension, or to enter a number, and only then: a person cannot make use of it. Listen to the whole menu "
        "first. Do not say the keys aloud. Afterwards stay silent and wait for what the other side says."
    ),
    "dynamicParameters": [
        {
            "name": "digits",
            "location": "PARAMETER_LOCATION_BODY",
            "schema": {
                "type": "string",
                "description": (
                    "The keys in their order: 0-9, * and #. A w waits half a second, as in 1ww23#. "
                    f"At most {MAX_KEYS} characters."
                ),
            },
            "required": True,
        }
    ],
    "client": {},
    "timeout": "30s",
}
"""The tool's definition for the model. Its time-out is longer than the longest press."""


def info_digit(request: str) -> str | None:
    """The key in an INFO request as received (RFC 6086); None for any other message.

    ``application/dtmf-relay`` says ``Signal=5``, ``application/dtmf`` just ``5``; some gateways write the event's code.
    """
    head, _, body = request.partition("\r\n\r\n")
    if not head.startswith("INFO "):
        return None
    fields = (line.partition(":") for line in head.split("\r\n")[1:])
    kinds = [value for name, _, value in fields if name.strip().lower() in ("content-type", "c")]
    return info_signal(kinds[0], body) if kinds else None


def info_signal(media_type: str, body: str) -> str | None:
    """The key in the body of an INFO request of that type; None without one."""
    if media_type.partition(";")[0].strip().lower() not in ("application/dtmf-relay", "application/dtmf"):
        return None
    lines = [line.strip() for line in body.strip().split("\n")]
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and name.strip().lower() == "signal":
            return _SIGNALS.get(value.strip().upper())
    return _SIGNALS.get(lines[0].upper())


_PAUSE_MS: Final = 30
"""Shorter than the pause between two keys (40 ms by RFC 4733 §2.5.2.2's reckoning and ITU-T Q.24)."""
_SEGMENT_MS: Final = 65_535 / 8
"""The longest duration that an event can carry: a longer key goes on in another segment (RFC 4733 §2.5.1.3)."""
_CLOCK_MS: Final = 2**32 / 8
"""After this an RTP timestamp wraps to 0."""
_BOTH_WAYS_S: Final = 1.0
"""A key's INFO may arrive this long after its last packet, or the key this long after its INFO."""
_REMEMBERED: Final = 16


@dataclass(slots=True)
class _Key:
    digit: str
    by_info: bool
    seen_at_s: float


class ReceivedKeys:
    """Finds the RTP event packets (RFC 4733) and INFO requests that are a key not reported yet.

    A key's packets share its timestamp, and its duration grows up to the end bit. Three kinds of far end are known to
    differ: each packet has a new timestamp, all keys have one timestamp, or a key also comes by INFO.
    """

    def __init__(self) -> None:
        self._digit = ""
        self._at_ms = self._duration_ms = 0.0
        self._ended = False
        self._recent: deque[_Key] = deque(maxlen=_REMEMBERED)
        self._latest: _Key | None = None

    def event(self, digit: str, *, at_ms: float, duration_ms: float, longer: bool, end: bool, now_s: float) -> bool:
        """Whether a packet of an event begins a key that is to be reported.

        ``at_ms`` is its RTP timestamp, ``longer`` that its duration is at least that of the packet before, and ``end``
        its end bit.
        """
        same = digit == self._digit and self._goes_on(at_ms, longer=longer, end=end)
        self._duration_ms = duration_ms
        self._digit, self._at_ms = digit, at_ms
        self._ended = end or (same and self._ended)
        if same:
            if self._latest is not None:
                self._latest.seen_at_s = now_s
            return False
        known = self._other_way(digit, by_info=False, now_s=now_s)
        self._latest = None if known else self._recent[-1]
        return not known

    def info(self, digit: str, *, now_s: float) -> bool:
        """Whether the key of an INFO is to be reported."""
        return not self._other_way(digit, by_info=True, now_s=now_s)

    def _goes_on(self, at_ms: float, *, longer: bool, end: bool) -> bool:
        if at_ms == self._at_ms:
            return not self._ended or longer or end
        since_ms = (at_ms - self._at_ms) % _CLOCK_MS
        adjacent = since_ms <= self._duration_ms + _PAUSE_MS or abs(since_ms - _SEGMENT_MS) <= 2
        return adjacent and (not self._ended or end)

    def _other_way(self, digit: str, *, by_info: bool, now_s: float) -> bool:
        """Whether this key came the other way a moment ago. If so, that one is forgotten; if not, this one is noted."""
        for key in self._recent:
            if key.digit == digit and key.by_info is not by_info and now_s - key.seen_at_s <= _BOTH_WAYS_S:
                self._recent.remove(key)
                return True
        self._recent.append(_Key(digit, by_info, now_s))
        return False


class Burst:
    """The digits pressed since the last pause; a pause, ``#`` or the longest length ends it."""

    def __init__(self) -> None:
        self._digits = ""

    def press(self, digit: str) -> bool:
        """Add a digit; True when it ends the burst. Digits beyond the longest length are dropped."""
        if len(self._digits) < MAX_KEYS:
            self._digits += digit
        return digit == _TERMINATOR or len(self._digits) == MAX_KEYS

    def take(self) -> str:
        """Return the digits and start a new burst."""
        digits, self._digits = self._digits, ""
        return digits


def read_keys(parameters: Mapping[str, Any]) -> str:
    """The keys and pauses that a ``pressKeys`` invocation asks for.

    Raises ``ValueError`` with a sentence for the model about what to do instead.
    """
    digits = parameters.get("digits")
    if isinstance(digits, int) and not isinstance(digits, bool):
        digits = str(digits)  # models write numbers where a schema says string
    if not isinstance(digits, str):
        raise ValueError("No key was pressed: the parameter digits is missing. Give the keys as a string, such as 12#.")
    keys = _SEPARATORS.sub("", digits).upper().replace("W", "w")
    if not _KEYS.fullmatch(keys):
        raise ValueError(
            f"No key was pressed: digits must be 1 to {MAX_KEYS} of the characters 0-9 * # A-D, and w to wait half a "
            "second. Spell them without words, such as 12#."
        )
    return keys
