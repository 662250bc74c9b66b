from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from media.ultravox.frames import AudioFrames, FrameSplitter

BOUND = 70_000

sizes = st.sampled_from([0, 1, 125, 126, 127, 320, 65_535, 65_536])
frames = st.builds(
    Frame,
    opcode=st.sampled_from([Opcode.BINARY, Opcode.TEXT, Opcode.CONT]),
    data=sizes.map(lambda size: bytes(i % 251 for i in range(size))),
    fin=st.booleans(),
)


class Told:
    """What a splitter tells, in order: payloads of audio, and other frames whole."""

    def __init__(self) -> None:
        self.all: list[tuple[str, bytes]] = []
        self.splitter = FrameSplitter(
            lambda data: self.all.append(("audio", data)), lambda data: self.all.append(("other", data)), BOUND
        )


@pytest.mark.parametrize("size", [0, 1, 125, 126, 320, 1920, 65_535, 65_536])
def test_servers_side_of_the_library_reads_the_callers_frame(size: int) -> None:
    pcm = bytes(i % 256 for i in range(size))
    server = Protocol(Side.SERVER, state=OPEN)
    server.receive_data(AudioFrames().frame(pcm))
    [frame] = server.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.fin, frame.data) == (Opcode.BINARY, True, pcm)


def test_masking_keys_do_not_repeat() -> None:
    caller = AudioFrames()
    keys = [caller.frame(b"")[2:] for _ in range(2000)]
    assert {len(key) for key in keys} == {4}
    assert len(set(keys)) > 1990


@given(st.lists(frames, max_size=6), st.lists(st.integers(1, 70_000), max_size=30))
def test_frames_come_whole_and_in_order_however_they_were_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame.serialize(mask=False) for frame in sent)
    told = Told()
    for size in [*cuts, len(stream)]:
        told.splitter.feed(stream[:size])
        stream = stream[size:]
    assert told.all == [
        ("audio", bytes(frame.data))
        if frame.fin and frame.opcode is Opcode.BINARY and frame.data
        else ("other", frame.serialize(mask=False))
        for frame in sent
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Frame(Opcode.BINARY, bytes(BOUND + 1)).serialize(mask=False), id="too long"),
        pytest.param(Frame(Opcode.BINARY, b"masked").serialize(mask=True), id="masked by the server"),
    ],
)
def test_frame_that_may_not_be_is_handed_on_as_it_comes_with_all_after_it(wrong: bytes) -> None:
    told = Told()
    audio = Frame(Opcode.BINARY, b"ab").serialize(mask=False)
    told.splitter.feed(audio + wrong[:20])
    told.splitter.feed(wrong[20:] + audio)
    assert told.all[0] == ("audio", b"ab")
    assert b"".join(data for kind, data in told.all[1:]) == wrong + audio
    assert {kind for kind, _ in told.all[1:]} == {"other"}
