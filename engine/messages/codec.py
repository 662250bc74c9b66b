"""Messages as bytes: MessagePack of a class's name and its fields, read as data and never as code.

A process that reads the network in C may be taken over. What it sends is therefore decoded only into the dataclasses
that a process of its side may send, with every field's type checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NoReturn, get_args

import msgspec

from engine.messages import commands, events
from engine.messages.edge import EdgeFailed, EdgeReady, EdgeSettings
from engine.messages.forks import Exited, Spawn, Spawned
from engine.messages.settings import (
    CarrierReady,
    CarrierSettings,
    RegistrarSettings,
    SimulatorReady,
    SimulatorSettings,
    WorkerSettings,
)


class NotAMessage(Exception):
    """The bytes are no message that this side may send; the text is a sentence without what they hold."""


class Codec:
    """One side's messages: an instance of one of ``kinds``, in ``most_bytes`` at most."""

    def __init__(self, kinds: Iterable[type], *, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._decoders: dict[str, msgspec.msgpack.Decoder[Any]] = {
            kind.__name__: msgspec.msgpack.Decoder(kind, dec_hook=_as_path, ext_hook=_no_extension) for kind in kinds
        }
        self._envelope = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_of_path)

    def encode(self, value: object) -> bytes:
        """The bytes of a message. Raises ``TypeError`` for one that the other side would not take."""
        name = type(value).__name__
        if name not in self._decoders:
            raise TypeError(f"{name} is no message of this side")
        try:
            return self._encoder.encode((name, value))
        except UnicodeEncodeError:  # PJSIP's texts keep bytes that are no UTF-8 as surrogates
            return self._encoder.encode((name, _readable(msgspec.to_builtins(value, enc_hook=_of_path))))

    def decode(self, data: bytes | memoryview) -> Any:
        """The message. Raises ``NotAMessage``."""
        try:
            name, fields = self._envelope.decode(data)
            if (decoder := self._decoders.get(name)) is not None:
                return decoder.decode(fields)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise NotAMessage(f"it does not have the types of its fields ({type(error).__name__})") from None
        raise NotAMessage("its name is unknown")


def _of_path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _as_path(kind: type, value: Any) -> Path:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"no {kind.__name__}")


def _no_extension(code: int, _: memoryview) -> NoReturn:
    raise ValueError(f"extension {code}")


def _readable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_readable(key): _readable(each) for key, each in value.items()}
        case list() | tuple():
            return [_readable(each) for each in value]
    return value


_SETTINGS = (CarrierSettings, EdgeSettings, RegistrarSettings, SimulatorSettings, WorkerSettings)
_READY = (CarrierReady, EdgeFailed, EdgeReady, SimulatorReady)

TO_CHILD: Final = Codec((*get_args(commands.Command), *_SETTINGS), most_bytes=1 << 26)
"""From the control process; the sandbox's voices are megabytes."""
TO_CONTROL: Final = Codec((*get_args(events.Event), *_READY), most_bytes=1 << 20)
"""From the processes that read the network."""
TO_FORK_SERVER: Final = Codec((Spawn,), most_bytes=4096)
FROM_FORK_SERVER: Final = Codec((Spawned, Exited), most_bytes=4096)
