"""The torture messages of RFC 4475, by the names they have there, as datagrams to throw at a SIP port.

Their addresses and fields are the RFC's. ``TORTURE`` maps each name to its bytes.
"""

from __future__ import annotations

from typing import Final

_SDP: Final = (
    "v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 49217 RTP/AVP 0 12\r\nm=video 3227 RTP/AVP 31\r\na=rtpmap:31 LPC\r\n"
)
_DIALOG: Final = (
    "To: sip:user@example.com",
    "From: sip:caller@example.net;tag=34525",
    "Max-Forwards: 6",
    "CSeq: 8 {method}",
    "Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw{name}",
    "Call-ID: {name}.0ha0isndaksdj",
)


def _message(name: str, start: str, *fields: str, body: str = "", without: tuple[str, ...] = ()) -> bytes:
    """``start``, the usual fields that ``fields`` does not give and ``without`` does not take away, and a body."""
    method = start.split(" ")[0]
    given = {field.partition(":")[0].strip().lower() for field in fields} | {each.lower() for each in without}
    usual = [field.format(name=name, method=method) for field in _DIALOG]
    lines = [start, *(field for field in usual if field.partition(":")[0].lower() not in given), *fields]
    if body:
        lines.append("Content-Type: application/sdp")
    if not given & {"content-length", "l"}:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


def _invite(name: str, *fields: str, uri: str = "sip:user@example.com", without: tuple[str, ...] = ()) -> bytes:
    return _message(
        name, f"INVITE {uri} SIP/2.0", *fields, "Contact: <sip:caller@192.0.2.1>", body=_SDP, without=without
    )


def _options(name: str, *fields: str, uri: str = "sip:user@example.com", without: tuple[str, ...] = ()) -> bytes:
    return _message(name, f"OPTIONS {uri} SIP/2.0", *fields, without=without)


def _register(name: str, *fields: str) -> bytes:
    return _message(name, "REGISTER sip:example.com SIP/2.0", *fields)


_LONG: Final = "long" * 60
_VALID: Final = {
    "wsinv": (
        "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\nTO :\r\n sip:vivekg@chair-dnrc.example.com ;"
        '   tag    = 1918181833n\r\nfrom   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n'
        "  tag = 98asjd8\r\nMaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.ndaksdj@192.0.2.1\r\n"
        f"Content-Length   : {len(_SDP)}\r\ncseq: 0009\r\n  INVITE\r\nVia  : SIP  /   2.0\r\n /UDP\r\n"
        "    192.0.2.2;branch=390skdjuw\r\ns :\r\n"
        "NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
        "UnknownHeaderWithUnusualValue: ;;,,;;,;\r\nContent-Type: application/sdp\r\nRoute:\r\n"
        " <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n"
        "v:  SIP  / 2.0  / TCP     spindle.example.com"
        "   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n"
        ' z9hG4bK30239\r\nm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n'
        f"  secondparam ; q = 0.33\r\n\r\n{_SDP}"
    ).encode(),
    "intmeth": _message(
        "intmeth",
        "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
        ":&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0",
        'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)&isn\'t+it$/crazy?,/;;*@example.com>',
        "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com> ;fromParam''~+*_!.-%=\"\xd1\x80\xd0\xb0\""
        ";tag=_token~1'+`*%!-.",
        "CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~",
        "extensionHeader-!.%*+_`'~:\xef\xbb\xbf\xe5\xa4\xa7\xe5\x81\x9c\xe9\x9b\xbb",
    ),
    "esc01": _invite(
        "esc01",
        "Contact: <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>",
        uri="sip:sips%3Auser%40example.com@example.net",
    ),
    "escnull": _register(
        "escnull",
        "To: sip:null-%00-null@example.com",
        "From: sip:null-%00-null@example.com;tag=839923423",
        "Contact: <sip:%00@host5.example.com>",
        "Contact: <sip:%00%00@host5.example.com>",
    ),
    "esc02": _message(
        "esc02",
        "RE%47IST%45R sip:registrar.example.com SIP/2.0",
        'To: "%Z%45" <sip:resource@example.com>',
        "CSeq: 29344 RE%47IST%45R",
        "Contact: <sip:alias1@host1.example.com>",
        "C%6Fntact: <sip:alias2@host2.example.com>",
    ),
    "lwsdisp": _options("lwsdisp", "From: caller<sip:caller@example.com>;tag=323"),
    "longreq": _invite(
        "longreq",
        f'To: "I have a user name of extreme{_LONG} proportion"<sip:user@example.com:6000;x={_LONG}>',
        *(f"Unknown-{_LONG}-Name{number}: unknown-{_LONG}-value; {_LONG}={_LONG}" for number in range(3)),
        *(f"Via: SIP/2.0/TCP sip{number}.example.com;branch=z9hG4bK{_LONG}{number}" for number in range(20)),
        without=("Via",),
    ),
    "dblreq": _register("dblreq", "Contact: sip:j.user@host.example.com") + _invite("dblreq2"),
    "semiuri": _options("semiuri", "Accept: application/sdp", uri="sip:user;par=u%40example.net@example.com"),
    "transports": _options(
        "transports",
        *(
            f"Via: SIP/2.0/{each} t{each}.example.com;branch=z9hG4bK{each}"
            for each in ("UDP", "SCTP", "TLS", "UNKNOWN", "TCP")
        ),
        without=("Via",),
    ),
    "mpart01": _message(
        "mpart01",
        "MESSAGE sip:kumiko@example.org SIP/2.0",
        "Content-Type: multipart/mixed;boundary=7a9cbec02ceef655",
        "Content-Length: 60",
    )
    + b"--7a9cbec02ceef655\r\nContent-Type: text/plain\r\n\r\n\x00\xff\r\n--7a9cb",
    "unreason": _message(
        "unreason",
        "SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe \xd1\x81\xd1\x82\xd0\xbe",
        "CSeq: 35 INVITE",
        "Contact: <sip:user@host198.example.com>",
        body=_SDP,
    ),
    "noreason": _message("noreason", "SIP/2.0 100 ", "CSeq: 35 INVITE"),
}
_INVALID: Final = {
    "badinv01": _invite(
        "badinv01",
        "To: sip:j.user@example.com;;",
        "From: sip:caller@example.net;;tag=141334",
        'Contact: "Joe" <sip:joe@example.org>;;;;',
        "Via: SIP/2.0/UDP 192.0.2.15;;,;,,",
    ),
    "clerr": _invite("clerr", "Content-Length: 9999"),
    "ncl": _invite("ncl", "Content-Length: -999"),
    "scalar02": _register(
        "scalar02",
        "CSeq: 36893488147419103232 REGISTER",
        "Max-Forwards: 300",
        "Expires: 10000000000000000000",
        "Contact: <sip:user@host129.example.com>;expires=280297596632815",
    ),
    "scalarlg": _message(
        "scalarlg",
        "SIP/2.0 503 Service Unavailable",
        "CSeq: 9292394834772304023312 OPTIONS",
        "Retry-After: 949302838503028349304023988",
        'Warning: 1812 overture "In Progress"',
    ),
    "quotbal": _invite("quotbal", 'To: "Mr. J. User <sip:j.user@example.com>'),
    "ltgtruri": _invite("ltgtruri", uri="<sip:user@example.com>"),
    "lwsruri": _invite("lwsruri", uri="sip:user@example.com; lr"),
    "lwsstart": _message("lwsstart", "INVITE  sip:user@example.com  SIP/2.0", body=_SDP),
    "trws": _message("trws", "OPTIONS sip:remote-target@example.com SIP/2.0  "),
    "escruri": _invite("escruri", uri="sip:user@example.com?Route=%3Csip:example.com%3E"),
    "baddate": _invite("baddate", "Date: Fri, 01 Jan 2010 16:00:00 EST"),
    "regbadct": _register("regbadct", "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E"),
    "badaspec": _options(
        "badaspec",
        'From: "Bell, Alexander" <sip:a.g.bell@example.com>;tag=433423',
        'To: "Watson, Thomas" < sip:t.watson@example.org >',
    ),
    "baddn": _options(
        "baddn",
        "From: Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
        "To: Watson, Thomas <sip:t.watson@example.org>",
    ),
    "badvers": _message(
        "badvers", "OPTIONS sip:t.watson@example.org SIP/7.0", "Via: SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw"
    ),
    "mismatch01": _options("mismatch01", "CSeq: 8 INVITE"),
    "mismatch02": _message("mismatch02", "NEWMETHOD sip:user@example.com SIP/2.0", "CSeq: 8 INVITE", body=_SDP),
    "bigcode": _message("bigcode", "SIP/2.0 4294967301 better not break the receiver", "CSeq: 8 INVITE"),
}
_LAYERS_ABOVE: Final = {
    "badbranch": _options("badbranch", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"),
    "insuf": _message(
        "insuf",
        "INVITE sip:user@example.com SIP/2.0",
        "CSeq: 193942 INVITE",
        body=_SDP,
        without=("To", "From", "Call-ID"),
    ),
    "unkscm": _options("unkscm", uri="nobodyKnowsThisScheme:totallyopaquecontent"),
    "novelsc": _options("novelsc", uri="soap.beep://192.0.2.103:3002"),
    "unksm2": _register(
        "unksm2", "To: isbn:2983792873", "From: <http://www.example.com>;tag=3234233", "Contact: <name:John_Smith>"
    ),
    "bext01": _options(
        "bext01",
        "Require: nothingSupportsThis, nothingSupportsThisEither",
        "Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis",
    ),
    "invut": _message(
        "invut",
        "INVITE sip:user@example.com SIP/2.0",
        "Contact: <sip:caller@192.0.2.1>",
        "Content-Type: application/unknownformat",
        "Content-Length: 40",
    )
    + b'<audio>\x00 <pcmu port="443"/></audio>    ',
    "regaut01": _register("regaut01", "Authorization: NoOneKnowsThisScheme opaque-data=here"),
    "multi01": _invite(
        "multi01",
        "CSeq: 59 INVITE",
        "Via: SIP/2.0/UDP 192.0.2.25;branch=z9hG4bKkdj",
        "Max-Forwards: 5",
        "CSeq: 2 OPTIONS",
        "To: sip:two@example.com",
        "From: sip:two@example.net;tag=2",
        "From: sip:three@example.net;tag=3",
        "Call-ID: one",
        "Call-ID: two",
        "Max-Forwards: 70",
    ),
    "mcl01": _options("mcl01", "Content-Length: 13", "Content-Length: 5") + b"There's no way to know how many octets",
    "bcast": _message(
        "bcast",
        "SIP/2.0 200 OK",
        "CSeq: 8 INVITE",
        "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23",
        body=_SDP,
    ),
    "zeromf": _options("zeromf", "Max-Forwards: 0"),
    "cparam01": _register("cparam01", "Contact: sip:+19725552222@gw1.example.net;unknownparam"),
    "cparam02": _register("cparam02", "Contact: <sip:+19725552222@gw1.example.net;unknownparam>"),
    "regescrt": _register("regescrt", "Contact: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>"),
    "sdp01": _invite("sdp01", "Accept: text/nobodyKnowsThis"),
    "inv2543": _invite(
        "inv2543",
        "To: sip:UserB@example.com",
        "From: <sip:UserA@example.net>",
        "Via: SIP/2.0/UDP iftgw.example.com",
        without=("Max-Forwards",),
    ),
}
TORTURE: Final = {**_VALID, **_INVALID, **_LAYERS_ABOVE}
