from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from media.framer import Framer


@given(chunks=st.lists(st.binary(max_size=50)), size=st.integers(1, 40))
def test_any_chunks_leave_as_exact_frames_and_the_rest_stays(chunks: list[bytes], size: int) -> None:
    framer = Framer()
    frames = []
    for chunk in chunks:
        framer.push(chunk)
        while frame := framer.pull(size):
            frames.append(frame)
    stream = b"".join(chunks)
    assert {len(frame) for frame in frames} <= {size}
    assert b"".join(frames) + framer.pull(len(framer)) == stream
    assert len(frames) == len(stream) // size
    assert len(framer) == 0


@given(chunks=st.lists(st.binary(min_size=1, max_size=20), min_size=1), data=st.data())
def test_what_is_pushed_back_is_pulled_again(chunks: list[bytes], data: st.DataObject) -> None:
    framer = Framer()
    for chunk in chunks:
        framer.push(chunk)
    stream = b"".join(chunks)
    pulled = framer.pull(data.draw(st.integers(0, len(stream))))
    framer.push_back(pulled[data.draw(st.integers(0, len(pulled))) :])
    kept = len(stream) - len(framer)
    assert pulled[:kept] + framer.pull(len(framer)) == stream


def test_half_a_sample_waits_for_its_other_half() -> None:
    framer = Framer()
    framer.push(b"\x01\x02\x03")
    assert (framer.pull(2), framer.pull(2), len(framer)) == (b"\x01\x02", b"", 1)
    framer.push(b"\x04")
    assert framer.pull(2) == b"\x03\x04"


def test_clear_forgets_half_a_sample_too() -> None:
    framer = Framer()
    framer.push(b"\x01\x02\x03")
    framer.pull(2)
    framer.clear()
    framer.push(b"\x05\x06")
    assert (framer.pull(2), len(framer)) == (b"\x05\x06", 0)
