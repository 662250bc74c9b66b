from __future__ import annotations

from datetime import datetime

from api.load.signalling import read_trace


def entry(clock: str, direction: str, message: str) -> str:
    text = message.replace("\n", "\r\n")
    return f"{'-' * 47} 2026-11-23 {clock}\nUDP message {direction} [{len(text)}] bytes :\n\n{text}\n"


def message(start: str, method: str, call_id: str = "CA1", body: str = "") -> str:
    return f"{start}\nCall-ID: {call_id}\nCSeq: 1 {method}\n\n{body}"


INVITE = message("INVITE sip:1@h SIP/2.0", "INVITE", body="v=0\nm=audio 16004 RTP/AVP 0\n")


def ns(clock: str) -> int:
    at = datetime.fromisoformat(f"2026-11-23 {clock}").astimezone()
    return round(at.timestamp()) * 10**9


def test_calls_steps_are_read_with_their_microseconds_and_a_retransmission_changes_no_time() -> None:
    trace = "".join(
        (
            entry("10:00:00.000250", "received", INVITE),
            entry("10:00:00.500000", "received", INVITE),
            entry("10:00:00.600000", "sent", message("SIP/2.0 100 Trying", "INVITE")),
            entry("10:00:01.000000", "sent", message("SIP/2.0 180 Ringing", "INVITE")),
            entry("10:00:02.000000", "sent", message("SIP/2.0 200 OK", "INVITE")),
            entry("10:00:02.500000", "sent", message("SIP/2.0 200 OK", "INVITE")),
            entry("10:00:03.000000", "received", message("BYE sip:1@h SIP/2.0", "BYE")),
            entry("10:00:03.001000", "sent", message("SIP/2.0 200 OK", "BYE")),
        )
    )
    call = read_trace(trace)["CA1"]
    assert (call.invite_ns, call.media_port, call.invites) == (ns("10:00:00") + 250_000, 16004, 2)
    assert (call.ringing_ns, call.answered_ns, call.bye_ns) == (ns("10:00:01"), ns("10:00:02"), ns("10:00:03"))


def test_an_answers_own_time_of_sending_counts_and_not_the_traces() -> None:
    answer = message("SIP/2.0 200 OK", "INVITE").replace(
        "CSeq", "X-Sent: 2026-11-23\t10:00:01.5\t1795428001.500007\nCSeq"
    )
    trace = entry("10:00:00.000001", "received", INVITE) + entry("10:00:02.000000", "sent", answer)
    assert read_trace(trace)["CA1"].answered_ns == 1795428001_500_007_000


def test_calls_are_told_apart_and_what_belongs_to_none_is_passed_over() -> None:
    other = INVITE.replace("CA1", "CA2").replace("16004", "16008")
    options = message("OPTIONS sip:h SIP/2.0", "OPTIONS", "CA3")
    trace = "".join(entry("10:00:00.000001", "received", it) for it in (INVITE, other, options))
    assert {name: call.media_port for name, call in read_trace(trace).items()} == {"CA1": 16004, "CA2": 16008}
    assert read_trace("") == {}
