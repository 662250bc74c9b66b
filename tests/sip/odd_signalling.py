"""Odd signalling: Contacts, routes, fields, refusals and challenges, one row each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

from engine.outcome import Cause, Party
from tests.sip.odd_carrier import SDP, FarCall, Script
from tests.sip.odd_digest import accepts
from tests.sip.odd_rows import Ends, Row, answers, refuses
from tests.sip.peers import PASSWORD, USERNAME

HERE = "127.0.0.1:{sip}"


def contact(name: str, value: str, *, trunk: str = "udp", ack_by: str = "") -> Row:
    """A 200 with that Contact, and a second one where it has a ``|``."""
    first, _, second = value.partition("|")
    more = (f"Contact: {second}",) if second else ()
    return Row(name=f"Contact {name}", script=answers(*more, contact=first), trunk=trunk, ack_by=ack_by)


def routed(name: str, *values: str, trunk: str = "udp", ack_by: str = "") -> Row:
    """A 200 with those Record-Routes."""
    fields = (f"Record-Route: {value}" for value in values)
    return Row(name=f"Record-Route {name}", script=answers(*fields), trunk=trunk, ack_by=ack_by)


CONTACTS: Final = (
    contact("tel", "<tel:+14155550123>"),
    contact("urn", "<urn:service:x>"),
    contact("none", ""),
    contact("no user", f"<sip:{HERE}>"),
    contact("two", f"<sip:callee@{HERE}>|<sip:other@{HERE}>"),
    contact("*", "*"),
    contact("bare", f"sip:callee@{HERE};x=y"),
    contact("escapes", f"<sip:ca%6clee@{HERE};ob>"),
    contact("display name with a comma", f'"Desk, front" <sip:callee@{HERE}>'),
    contact("maddr", f"<sip:callee@{HERE};maddr=127.0.0.1>"),
    contact("long maddr", f"<sip:callee@{HERE};maddr={'a' * 254}>"),
    contact("tcp on a UDP trunk", f"<sip:callee@{HERE};transport=tcp>", ack_by="tcp"),
    contact("ws", f"<sip:callee@{HERE};transport=ws>", ack_by="udp"),
    contact("sips on a UDP trunk", f"<sips:callee@{HERE}>", ack_by="udp"),
    contact("IPv6", "<sip:callee@[::1]:{sip}>"),
    contact("a name without an address", "<sip:callee@pbx.invalid>"),
    contact("port 0", "<sip:callee@127.0.0.1:0>"),
    contact("port 70000", "<sip:callee@127.0.0.1:70000>"),
    contact("a Route inside", "<sip:a@h?Route=%3Csip:x%3E>"),
    contact("empty", "<sip:>"),
    contact("unclosed", "<sip:callee@127.0.0.1"),
    *(contact(f"host of {size}", f"<sip:callee@{'a' * size}>") for size in (252, 253, 254, 300)),
    contact("udp on a TCP trunk", f"<sip:callee@{HERE};transport=udp>", trunk="tcp", ack_by="tcp"),
    contact("no transport on a TCP trunk", f"<sip:callee@{HERE}>", trunk="tcp", ack_by="tcp"),
    contact("IPv6 on a TCP trunk", "<sip:callee@[::1]:{sip}>", trunk="tcp", ack_by="tcp"),
    routed("strict", f"<sip:{HERE}>"),
    routed("loose", f"<sip:{HERE};lr>", f"<sip:{HERE};lr=on>"),
    routed("double", f"<sip:{HERE};lr;transport=tcp>", f"<sip:{HERE};lr>"),
    routed("junk", "junk"),
    routed("IPv6", "<sip:[::1]:{sip};lr>"),
    routed("maddr", f"<sip:{HERE};maddr={'a' * 254};lr>"),
    *(routed(f"host of {size}", f"<sip:{'a' * size};lr>") for size in (253, 254)),
    routed("udp on a TCP trunk", f"<sip:{HERE};transport=udp;lr>", trunk="tcp", ack_by="tcp"),
)


def header(name: str, *fields: str, mangle: Callable[[str], str] = str, status: str = "200 OK", tag: str = "x") -> Row:
    return Row(name=f"200 with {name}", script=answers(*fields, mangle=mangle, status=status, tag=tag))


def _compact(text: str) -> str:
    long = {"Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Contact": "m", "Content-Type": "c"}
    for name, letter in {**long, "Content-Length": "l"}.items():
        text = re.sub(rf"(?m)^{name}:", f"{letter}:", text)
    return text


def _lower(text: str) -> str:
    return re.sub(r"(?m)^([\w-]+):", lambda name: name.group().lower(), text)


def _folded(text: str) -> str:
    return re.sub(r"(?m)^(From|To|Call-ID|Contact): ", r"\1:\r\n\t ", text)


def _blanks(text: str) -> str:
    return re.sub(r"(?m)^([\w-]+):", r"\1  \t:", text)


HEADERS: Final = (
    header("compact names", mangle=_compact),
    header("lower-case names", mangle=_lower),
    header("folded fields", mangle=_folded),
    header("blanks before the colon", mangle=_blanks),
    header("UTF-8", "Organization: Übermittlung ☎"),
    header("bytes that are no UTF-8", "Organization: \udcff\udcfe", status="200 O\udcffK"),
    header("no reason phrase", status="200"),
    header("202", status="202 Accepted"),
    header("no Content-Length", mangle=lambda text: re.sub(r"\r\nContent-Length: \d+", "", text)),
    header("Require: precondition", "Require: precondition"),
    header("Session-Expires without refresher", "Session-Expires: 1800"),
    header("Session-Expires of 60", "Require: timer", "Session-Expires: 60;refresher=uas"),
    header("Session-Expires of -5", "Session-Expires: -5"),
    header("Session-Expires of -90", "Require: timer", "Session-Expires: -90;refresher=uac"),
    header("Min-SE in words", "Min-SE: ten minutes", "Session-Expires: never"),
    header("Expires as a date", "Expires: Sat, 01 Dec 2040 16:00:00 GMT"),
    header("a tag of odd characters", tag="a(b)[c]@d/e"),
    header("a tag that cannot be read", tag='a(b)c"d'),
    header("no tag", tag=""),
    header("a long tag", tag="t" * 300),
    header("a long field", f"X-Long: {'x' * 7000}"),
    header("many fields", *(f"X-{index}: y" for index in range(200))),
    header("a line that is no field", "no field at all"),
    header("Retry-After as text", "Retry-After: soon", "Warning: nonsense", "Date: yesterday", "Allow: @@,,"),
)


def refused(name: str, status: str, *fields: str, ends: Ends, trunk: str = "udp") -> Row:
    return Row(name=f"{status[:3]}, {name}", script=refuses(status, *fields), ends=ends, trunk=trunk)


def _failed(cause: Cause, sip: int, by: Party = Party.TRUNK, q850: int | None = None, says: str = "") -> Ends:
    return Ends(cause=cause, sip=sip, by=by, q850=q850, says=says)


_CALLEE = Party.CALLEE
_LIMITED = "limit"
_REFUSED = "caller number"

REFUSALS: Final = (
    refused(
        "huge Retry-After",
        "486 Busy Here",
        "Retry-After: 18446744073709551616",
        ends=_failed(Cause.BUSY, 486, _CALLEE),
    ),
    refused(
        "Retry-After of 14 digits",
        "503 Down",
        "Retry-After: 99999999999999",
        ends=_failed(Cause.TRUNK_UNAVAILABLE, 503),
        trunk="alone",
    ),
    refused("Min-SE in words", "422 Too Small", "Min-SE: ten minutes", ends=_failed(Cause.CALL_FAILED, 422)),
    refused(
        "Expires as a date",
        "480 Gone",
        "Expires: Sat, 01 Dec 2040 16:00:00 GMT",
        ends=_failed(Cause.NO_ANSWER, 480, _CALLEE),
    ),
    refused("Q.850 19", "480 Gone", "Reason: Q.850;cause=19", ends=_failed(Cause.NO_ANSWER, 480, _CALLEE, 19)),
    refused(
        "several Reasons",
        "503 Down",
        "Reason: SIP;cause=503",
        'Reason: Q.850;cause=17;text="busy"',
        ends=_failed(Cause.BUSY, 503, _CALLEE, 17),
    ),
    refused(
        "a comma in a Reason's text",
        "503 Down",
        'Reason: Q.850;text="User busy, sorry";cause=17',
        ends=_failed(Cause.BUSY, 503, _CALLEE, 17),
    ),
    refused(
        "a cause inside a Reason's text",
        "500 Down",
        'Reason: SIP;cause=500;text="was Q.850;cause=1, we think", Q.850;cause=38',
        ends=_failed(Cause.TRUNK_UNAVAILABLE, 500, q850=38),
    ),
    refused(
        "a folded Reason",
        "503 Down",
        'Reason: Q.850\r\n ;cause=17\r\n ;text="User busy"',
        ends=_failed(Cause.BUSY, 503, _CALLEE, 17),
    ),
    *(
        refused(
            f"Q.850 {q850}",
            "403 Forbidden",
            f"Reason: Q.850;cause={q850}",
            ends=_failed(Cause.REJECTED, 403, q850=q850, says=_REFUSED),
        )
        for q850 in (0, 21, 63)
    ),
    *(
        refused(
            f"Q.850 {q850}",
            "603 Declined",
            f"Reason: Q.850;cause={q850}",
            ends=_failed(Cause.REJECTED, 603, q850=q850, says=_REFUSED),
        )
        for q850 in (0, 16, 63)
    ),
    refused("alone", "603 Decline", ends=_failed(Cause.REJECTED, 603, _CALLEE)),
    refused("Network Blocked", "603 Network Blocked", ends=_failed(Cause.REJECTED, 603, _CALLEE)),
    refused("CPS", "403 CPS Limit Exceeded", ends=_failed(Cause.TRUNK_UNAVAILABLE, 403, says=_LIMITED)),
    refused("too many calls", "403 Too many calls", ends=_failed(Cause.TRUNK_UNAVAILABLE, 403, says=_LIMITED)),
    refused(
        "Retry-After",
        "429 Too Many Requests",
        "Retry-After: 2",
        ends=_failed(Cause.TRUNK_UNAVAILABLE, 429, says=_LIMITED),
        trunk="alone",
    ),
    refused("a version of ours", "606 Not Acceptable", ends=_failed(Cause.NOT_ACCEPTABLE, 606)),
    refused("unwanted", "607 Unwanted", ends=_failed(Cause.REJECTED, 607, _CALLEE)),
    refused("rejected", "608 Rejected", ends=_failed(Cause.REJECTED, 608)),
    refused("unknown", "499 Something", ends=_failed(Cause.CALL_FAILED, 499)),
    refused("unknown", "699 Everything", ends=_failed(Cause.CALL_FAILED, 699)),
    refused(
        "Retry-After with a comment",
        "486 Busy",
        "Retry-After: 18 (in a meeting);duration=3600",
        ends=_failed(Cause.BUSY, 486, _CALLEE),
    ),
    refused("invalid bytes", "486 B\udcffsy", "X: \udcfe", ends=_failed(Cause.BUSY, 486, _CALLEE)),
)


def _redirects(value: str) -> Script:
    async def script(call: FarCall) -> None:
        call.respond("302 Moved", f"Contact: {value}", contact="")
        await call.wait_for("INVITE", count=2)
        call.respond("200 OK", body=SDP)

    return script


def _provisional(*statuses: str) -> Script:
    async def script(call: FarCall) -> None:
        for status in statuses:
            call.respond(status)
        call.respond("200 OK", body=SDP)

    return script


async def _repeats_its_refusal(call: FarCall) -> None:
    for _ in range(3):
        call.respond("603 Decline")
    await call.wait_for("ACK")


def redirected(name: str, value: str) -> Row:
    return Row(name=f"302 to {name}", script=_redirects(value), trunk="follows")


OTHERS: Final = (
    redirected("a display name", f'"Front desk" <sip:+14155550124@{HERE}>'),
    redirected("a ported number", f"<sip:+14155550123;npdi;rn=+14155559999@{HERE}>"),
    redirected("%23", f"<sip:%2321@{HERE}>"),
    redirected("*", f"<sip:*21@{HERE}>"),
    redirected("isub", f"<sip:+14155550123;isub=12@{HERE}>"),
    redirected("several", f"<sip:one@{HERE}>;q=0.9, <tel:+1415>;q=1, <sip:two@{HERE};user=phone?X=y>;q=0.1"),
    Row(name="181, 182, 199 before the 200", script=_provisional("181 Forwarded", "182 Queued", "199 Gone")),
    Row(name="100 with a tag", script=_provisional("100 Trying")),
    Row(
        name="603 three times",
        script=_repeats_its_refusal,
        ends=Ends(cause=Cause.REJECTED, sip=603, by=Party.CALLEE),
    ),
)


def challenges(
    *fields: str, status: str = "401 Unauthorized", again: tuple[tuple[str, ...], ...] = (), answered: int = 1
) -> Script:
    """Challenge with ``fields``, then with each of ``again``; answer once the credentials of the last one are right."""

    async def script(call: FarCall) -> None:
        for count, challenge in enumerate((fields, *again), start=1):
            call.respond(status, *challenge, contact="")
            await call.wait_for("INVITE", count=count + 1)
        assert accepts(call.invite, USERNAME, PASSWORD) >= answered, call.invite
        call.respond("200 OK", body=SDP)

    return script


async def _never_satisfied(call: FarCall) -> None:
    for count in range(1, 6):
        call.respond("401 Unauthorized", digest(nonce=f"n{count}"), contact="")
        await asyncio.sleep(0.5)
        if len(call.requests("INVITE")) == count:
            return


def digest(
    *,
    realm: str = "carrier",
    nonce: str = "n1",
    extra: str = 'qop="auth", algorithm=MD5',
    name: str = "WWW-Authenticate",
) -> str:
    return f'{name}: Digest realm="{realm}", nonce="{nonce}", {extra}'


def challenged(name: str, *fields: str, **keys: object) -> Row:
    return Row(name=f"digest: {name}", script=challenges(*fields, **keys), trunk="datagrams")  # type: ignore[arg-type]


_BASIC, _PROXY = 'WWW-Authenticate: Basic realm="carrier"', "Proxy-Authenticate"

DIGESTS: Final = (
    challenged("SHA-256", digest(extra='qop="auth", algorithm=SHA-256')),
    challenged("SHA-512-256", digest(extra='qop="auth", algorithm=SHA-512-256')),
    challenged("MD5-sess", digest(extra='qop="auth", algorithm=MD5-sess')),
    challenged("SHA-256-sess", digest(extra='qop="auth-int", algorithm=SHA-256-sess')),
    challenged("auth-int", digest(extra='qop="auth-int"')),
    challenged("blanks in qop", digest(extra='qop=" auth , auth-int "')),
    challenged("blanks in qop, the other order", digest(extra='qop=" auth-int, auth "')),
    challenged("no qop", digest(extra="algorithm=MD5")),
    challenged("no algorithm", digest(extra='opaque=""')),
    challenged("Basic first", _BASIC, digest()),
    challenged("Basic last", digest(), _BASIC),
    challenged("an unknown algorithm first", digest(extra="algorithm=SHA3-9"), digest()),
    challenged("strongest first", digest(extra='algorithm=SHA-256, qop="auth"'), digest()),
    challenged(
        "stale twice",
        digest(),
        again=((digest(nonce="n2", extra="stale=true"),), (digest(nonce="n3", extra="stale=TRUE"),)),
    ),
    challenged("a new nonce without stale", digest(), again=((digest(nonce="n2"),),)),
    challenged("two realms", digest(), digest(realm="other"), answered=2),
    challenged("a proxy", digest(name=_PROXY), status="407 Proxy Authentication Required"),
    challenged("an odd opaque", digest(extra='opaque="a\\"b, c=d"')),
    challenged("a realm with quotes", digest(realm='a \\"b\\" c')),
    challenged("a realm of UTF-8", digest(realm="Netz ü")),
    challenged("an empty realm", digest(realm="")),
    challenged("a nonce of 500", digest(nonce="n" * 500)),
    challenged(
        "a challenge of 1,500", digest(realm="r" * 400, nonce="n" * 900, extra=f'opaque="{"o" * 200}", qop="auth"')
    ),
    challenged("quoted algorithm, lower case", digest(extra='algorithm="md5", qop=auth')),
    challenged("scheme in lower case", digest().replace("Digest", "digest")),
    challenged("blanks around =", digest().replace("=", " = ")),
    Row(
        name="digest: never satisfied",
        script=_never_satisfied,
        ends=Ends(cause=Cause.AUTH_FAILED, sip=401, says="username and password"),
        trunk="datagrams",
        check=lambda call: _assert_sent(call, 2),
    ),
)


def _assert_sent(call: FarCall, most: int) -> None:
    with_credentials = [one for one in call.requests("INVITE") if one.header("Authorization")]
    assert len(with_credentials) <= most, "the password went out too often"
