from __future__ import annotations

from media.uplink import Uplink


def test_frames_leave_in_the_order_they_came() -> None:
    uplink = Uplink()
    for frame in (b"1", b"2"):
        uplink.put(frame)
    assert [uplink.take(), uplink.take(), uplink.take()] == [b"1", b"2", None]
    assert uplink.dropped_frames == 0


def test_frame_beyond_the_bound_drops_the_oldest_and_counts_it() -> None:
    uplink = Uplink(max_frames=2)
    for frame in (b"1", b"2", b"3", b"4"):
        uplink.put(frame)
    assert (len(uplink), uplink.dropped_frames) == (2, 2)
    assert [uplink.take(), uplink.take()] == [b"3", b"4"]
