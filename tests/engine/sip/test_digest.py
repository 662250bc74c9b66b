"""Challenges of every form that carriers write, and the answers to them, checked by a server's arithmetic."""

from __future__ import annotations

import hashlib
from typing import SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.digest import (
    MAX_FIELD,
    MAX_REALMS,
    Challenge,
    Credentials,
    Exchange,
    Refused,
    Retry,
    Session,
    authorization,
    choose,
    read_challenges,
)

URI = "sip:+14155550123@carrier.example"
ALICE = Credentials("alice", "open sesame")


def read_one(value: str, *, proxy: bool = False) -> Challenge:
    (challenge,) = read_challenges(value, proxy=proxy)
    return challenge


def digest(nonce: str, realm: str = "carrier", *, stale: bool = False, proxy: bool = False) -> Challenge:
    return Challenge(realm=realm, nonce=nonce, stale=stale, proxy=proxy, qop=("auth",))


def parameters(field: str) -> dict[str, str]:
    """The parameters of credentials that we wrote, as a server reads them: the quotes gone, the escapes kept."""
    scheme, _, rest = field.partition(" ")
    assert scheme == "Digest"
    found: dict[str, str] = {}
    while rest:
        name, _, rest = rest.partition("=")
        if rest.startswith('"'):
            end = 1
            while rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            value, rest = rest[1:end], rest[end + 1 :]
        else:
            value, comma, tail = rest.partition(",")
            rest = comma + tail
        assert name not in found
        found[name] = value
        assert rest == "" or rest.startswith(", ")
        rest = rest.removeprefix(", ")
    return found


def accepts(field: str, method: str, credentials: Credentials, body: bytes = b"") -> bool:
    """A server's check of the response, after RFC 7616 §3.4, written apart from the code under test."""
    given_ = parameters(field)
    algorithm = given_.get("algorithm", "MD5")
    name = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}[algorithm.replace("-sess", "")]

    def h(text: bytes) -> str:
        return hashlib.new(name, text).hexdigest()

    ha1 = h(f"{credentials.username}:{given_['realm']}:{credentials.password}".encode())
    if algorithm.endswith("-sess"):
        ha1 = h(f"{ha1}:{given_['nonce']}:{given_['cnonce']}".encode())
    ha2 = f"{method}:{given_['uri']}" + (f":{h(body)}" if given_.get("qop") == "auth-int" else "")
    between = f"{given_['nc']}:{given_['cnonce']}:{given_['qop']}:" if "qop" in given_ else ""
    return given_["response"] == h(f"{ha1}:{given_['nonce']}:{between}{h(ha2.encode())}".encode())


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_section_3_9_1(algorithm: str, response: str) -> None:
    challenge = read_one(
        'Digest realm="http-auth@example.org", qop="auth, auth-int", '
        f"algorithm={algorithm}, "
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    mufasa = Credentials("Mufasa", "Circle of Life")
    assert authorization(challenge, mufasa, "GET", "/dir/index.html", b"", nc=1, cnonce=cnonce) == (
        'Digest username="Mufasa", realm="http-auth@example.org", '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", uri="/dir/index.html", '
        f'response="{response}", algorithm={algorithm}, '
        'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", qop=auth, nc=00000001'
    )


def test_the_example_of_rfc_7616_section_3_9_2_as_its_erratum_4897_corrects_it() -> None:
    challenge = read_one(
        'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
        'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
        'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true'
    )
    jason = Credentials("Jäsøn Doe", "Secret, or not?")
    cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"
    field = authorization(challenge, jason, "GET", "/doe.json", b"", nc=1, cnonce=cnonce)
    assert parameters(field)["response"] == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"


def test_the_example_of_rfc_2617_section_3_5() -> None:
    challenge = read_one(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    mufasa = Credentials("Mufasa", "Circle Of Life")
    field = authorization(challenge, mufasa, "GET", "/dir/index.html", b"", nc=1, cnonce="0a4f113b")
    assert parameters(field)["response"] == "6629fae49393a05397450978507c4ef1"
    assert "algorithm" not in parameters(field)


CHALLENGES = {
    "plain RFC 2069": 'Digest realm="carrier", nonce="n"',
    "lower-case scheme": 'digest realm="carrier", nonce="n", qop="auth"',
    "blanks around the equals signs": 'Digest realm = "carrier" , nonce\t=\t"n" , qop = "auth"',
    "blanks before and behind": '  Digest   realm="carrier",nonce="n",qop="auth"  ',
    "folded": 'Digest realm="carrier",\r\n nonce="n",\r\n\tqop="auth"',
    "commas missing": 'Digest realm="carrier" nonce="n" qop="auth"',
    "commas doubled": 'Digest realm="carrier",, nonce="n", , qop="auth",',
    "quoted algorithm": 'Digest realm="carrier", nonce="n", qop="auth", algorithm="MD5"',
    "lower-case algorithm": 'Digest realm="carrier", nonce="n", qop="auth", algorithm=md5',
    "quoted lower-case SHA-256": 'Digest realm="carrier", nonce="n", qop="auth", algorithm="sha-256"',
    "SHA-512-256": 'Digest realm="carrier", nonce="n", qop="auth", algorithm=SHA-512-256',
    "MD5-sess": 'Digest realm="carrier", nonce="n", qop="auth", algorithm=MD5-sess',
    "MD5-sess without qop": 'Digest realm="carrier", nonce="n", algorithm=MD5-sess',
    "SHA-256-sess": 'Digest realm="carrier", nonce="n", qop="auth", algorithm=SHA-256-sess',
    "SHA-512-256-sess": 'Digest realm="carrier", nonce="n", qop="auth-int", algorithm=SHA-512-256-SESS',
    "auth-int alone": 'Digest realm="carrier", nonce="n", qop="auth-int"',
    "blanks in qop": 'Digest realm="carrier", nonce="n", qop=" auth , auth-int "',
    "blanks in qop, auth-int first": 'Digest realm="carrier", nonce="n", qop=" auth-int, auth "',
    "qop as a token": 'Digest realm="carrier", nonce="n", qop=auth',
    "empty qop": 'Digest realm="carrier", nonce="n", qop=""',
    "unknown qop beside auth": 'Digest realm="carrier", nonce="n", qop="auth-conf,auth"',
    "quotes in the realm": r'Digest realm="the \"best\" \\ carrier", nonce="n", qop="auth"',
    "UTF-8 in the realm": 'Digest realm="Fernsprech-Übertragung ☎", nonce="n", qop="auth"',
    "empty realm": 'Digest realm="", nonce="n", qop="auth"',
    "no realm": 'Digest nonce="n", qop="auth"',
    "commas and equals signs in the realm": 'Digest realm="a, Basic realm=b, c=d", nonce="n", qop="auth"',
    "long nonce": f'Digest realm="carrier", nonce="{"n" * 3000}", qop="auth"',
    "empty nonce": 'Digest realm="carrier", nonce="", qop="auth"',
    "odd opaque": r'Digest realm="carrier", nonce="n", opaque=", \" =", qop="auth"',
    "empty opaque": 'Digest realm="carrier", nonce="n", opaque="", qop="auth"',
    "token with a backslash": 'Digest realm=carrier\\, nonce="n", qop="auth"',
    "unknown parameters": 'Digest realm="carrier", nonce="n", domain="sip:a sip:b", charset=UTF-8, x, y=, qop="auth"',
    "twice the same parameter": 'Digest realm="carrier", nonce="n", nonce="m", qop="auth", qop="none"',
    "Basic before": 'Basic realm="carrier", Digest realm="carrier", nonce="n", qop="auth"',
    "Basic behind": 'Digest realm="carrier", nonce="n", qop="auth", Basic realm="carrier"',
    "Negotiate without parameters between": 'Negotiate, Digest realm="carrier", nonce="n", NTLM, qop="auth"',
    "Negotiate with a token68": 'Negotiate YIIab/+==, Digest realm="carrier", nonce="n", qop="auth"',
    "unknown algorithm first": 'Digest realm="c", nonce="x", algorithm=X, Digest realm="c", nonce="n", qop="auth"',
}


@pytest.mark.parametrize("value", CHALLENGES.values(), ids=CHALLENGES)
@pytest.mark.parametrize("method", ["INVITE", "BYE"])
def test_a_challenge_of_any_usual_form_is_answered_as_the_server_computes_it(value: str, method: str) -> None:
    session, exchange = Session(ALICE), Exchange()
    assert session.challenged(read_challenges(value, proxy=True), exchange) == Retry()
    ((name, field),) = session.answer(method, URI, b"v=0\r\n", exchange)
    assert name == "Proxy-Authorization"
    assert accepts(field, method, ALICE, b"v=0\r\n")
    assert parameters(field)["uri"] == URI


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CHALLENGES["quotes in the realm"], {"realm": r"the \"best\" \\ carrier"}),
        (CHALLENGES["odd opaque"], {"opaque": r", \" ="}),
        (CHALLENGES["empty opaque"], {"opaque": ""}),
        (CHALLENGES["token with a backslash"], {"realm": r"carrier\\"}),
        (CHALLENGES["twice the same parameter"], {"nonce": "n", "qop": "auth"}),
        (CHALLENGES["unknown algorithm first"], {"nonce": "n"}),
        (CHALLENGES["quoted lower-case SHA-256"], {"algorithm": "SHA-256"}),
        (CHALLENGES["blanks in qop, auth-int first"], {"qop": "auth"}),
        (CHALLENGES["auth-int alone"], {"qop": "auth-int"}),
    ],
)
def test_what_the_server_wrote_goes_back_unchanged(value: str, expected: dict[str, str]) -> None:
    session, exchange = Session(ALICE), Exchange()
    session.challenged(read_challenges(value, proxy=False), exchange)
    ((_, field),) = session.answer("INVITE", URI, b"", exchange)
    assert expected.items() <= parameters(field).items()


def test_nothing_more_is_sent_than_the_challenge_allows() -> None:
    field = authorization(read_one('Digest realm="r", nonce="n"'), ALICE, "BYE", URI, b"", nc=1, cnonce="c")
    assert list(parameters(field)) == ["username", "realm", "nonce", "uri", "response"]


def test_a_username_with_quotes_is_escaped_in_the_field() -> None:
    field = authorization(read_one('Digest nonce="n"'), Credentials('a"b\\c', "p"), "BYE", URI, b"", nc=1, cnonce="c")
    assert parameters(field)["username"] == r"a\"b\\c"


def test_a_username_with_a_line_end_is_refused() -> None:
    with pytest.raises(ValueError, match="control characters"):
        Credentials("alice\r\nX-Evil: 1", "p")


def test_the_password_is_not_in_the_text_of_the_credentials() -> None:
    assert "sesame" not in repr(ALICE)


def test_of_one_realm_the_topmost_challenge_that_we_speak_is_answered() -> None:
    sha, md5, other = (
        Challenge(realm="a", nonce="1", algorithm="SHA-256"),
        Challenge(realm="a", nonce="2", algorithm="MD5"),
        Challenge(realm="b", nonce="3", algorithm="MD5"),
    )
    unknown = Challenge(realm="a", nonce="0", algorithm="SHA3")
    assert choose([unknown, sha, md5, other]) == [sha, other]
    assert choose([md5, sha]) == [md5]


def test_a_proxy_and_a_server_with_the_same_realm_are_both_answered() -> None:
    session, exchange = Session(ALICE), Exchange()
    assert session.challenged([digest("p", proxy=True)], exchange) == Retry()
    session.answer("INVITE", URI, b"", exchange)
    assert session.challenged([digest("s")], exchange) == Retry()
    fields = dict(session.answer("INVITE", URI, b"", exchange))
    assert parameters(fields["Proxy-Authorization"])["nonce"] == "p"
    assert parameters(fields["Authorization"])["nonce"] == "s"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ('Basic realm="carrier"', ": Basic."),
        ('Digest realm="c", nonce="n", algorithm=SHA3-512', ": Digest with algorithm SHA3-512."),
        ('Digest realm="c", nonce="n", qop="auth-conf"', ": Digest with qop auth-conf."),
        ('Digest realm="c"', ": Digest without a nonce."),
        ('Digest realm="c", nonce="n\\"', ": Digest without a nonce."),
        ('Basic realm="c", Digest nonce="n", algorithm=X, Basic realm="d"', ": Basic; Digest with algorithm X."),
        (f'Digest nonce="n", algorithm="\x07{"A" * 200}"', f": Digest with algorithm ?{'A' * 59}…."),
        ("", "no readable challenge."),
        (f'Digest nonce="{"n" * MAX_FIELD}"', "no readable challenge."),
    ],
)
def test_authentication_of_another_kind_is_named(value: str, kind: str) -> None:
    outcome = Session(ALICE).challenged(read_challenges(value, proxy=False), Exchange())
    assert isinstance(outcome, Refused)
    assert outcome.reason.endswith(kind)


@pytest.mark.parametrize("parameter", ["realm", "nonce", "opaque"])
@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "\ud800"])
def test_text_that_would_break_our_header_field_is_not_sent_back(parameter: str, text: str) -> None:
    value = f'Digest nonce="n", realm="r", opaque="o", qop="auth", algorithm=MD5, {parameter}="{text}"'
    value = value.replace(f'{parameter}="{parameter[0]}", ', "")
    assert not read_one(value).answerable


def test_without_credentials_the_sentence_says_so() -> None:
    outcome = Session(None).challenged([digest("n")], Exchange())
    assert outcome == Refused('The trunk asks for a username and password for realm "carrier", and none is configured.')
    assert Session(None).answer("INVITE", URI, b"", Exchange()) == []


REFUSED = 'The trunk refused the username and password for realm "carrier".'
REFUSED_TWICE = 'The trunk refused the username and password for realm "carrier", over a new nonce too.'
STALE_THRICE = 'The trunk called three nonces in a row stale for realm "carrier".'

SEQUENCES: dict[str, tuple[list[Challenge], str]] = {
    "accepted at once": ([digest("1")], ""),
    "two proxies": ([digest("1", proxy=True), digest("2", "next", proxy=True)], ""),
    "proxy, then server": ([digest("1", proxy=True), digest("2", "server")], ""),
    "stale twice": ([digest("1"), digest("2", stale=True), digest("3", stale=True)], ""),
    "new nonce without stale": ([digest("1"), digest("2")], ""),
    "new nonce without stale, then stale": ([digest("1"), digest("2"), digest("3", stale=True)], ""),
    "same nonce": ([digest("1"), digest("1")], REFUSED),
    "same nonce called stale": ([digest("1"), digest("1", stale=True)], REFUSED),
    "an earlier nonce": ([digest("1"), digest("2", stale=True), digest("1", stale=True)], REFUSED),
    "new nonces without stale": ([digest("1"), digest("2"), digest("3")], REFUSED_TWICE),
    "refused, stale, refused": ([digest("1"), digest("2"), digest("3", stale=True), digest("4")], REFUSED_TWICE),
    "stale for ever": ([digest("1"), *(digest(str(n), stale=True) for n in (2, 3, 4))], STALE_THRICE),
    "two proxies with one-time nonces": (
        [
            digest("1", proxy=True),
            digest("a", "next", proxy=True),
            digest("2", proxy=True, stale=True),
            digest("b", "next", proxy=True, stale=True),
        ],
        "",
    ),
}


@pytest.mark.parametrize(("challenges", "reason"), SEQUENCES.values(), ids=SEQUENCES)
def test_a_request_that_is_challenged_again_and_again(challenges: list[Challenge], reason: str) -> None:
    session, exchange = Session(ALICE), Exchange()
    assert session.answer("INVITE", URI, b"", exchange) == []
    for number, challenge in enumerate(challenges, 1):
        outcome = session.challenged([challenge], exchange)
        if reason and number == len(challenges):
            assert outcome == Refused(reason)
            assert session.answer("BYE", URI, b"", Exchange()) == []  # refused credentials are not sent unasked
        else:
            assert outcome == Retry()
            fields = session.answer("INVITE", URI, b"", exchange)
            assert challenge.nonce in [parameters(field)["nonce"] for _, field in fields]
            assert all(accepts(field, "INVITE", ALICE) for _, field in fields)


def test_a_known_realm_gets_credentials_unasked_and_each_use_of_the_nonce_is_counted() -> None:
    session, invite = Session(ALICE), Exchange()
    session.challenged([digest("1")], invite)
    fields = [
        *session.answer("INVITE", URI, b"", invite),
        *session.answer("UPDATE", URI, b"", Exchange()),
        *session.answer("BYE", URI, b"", Exchange()),
    ]
    read = [parameters(field) for _, field in fields]
    assert [each["nc"] for each in read] == ["00000001", "00000002", "00000003"]
    assert len({each["cnonce"] for each in read}) == 1
    assert accepts(fields[-1][1], "BYE", ALICE)


def test_a_new_nonce_starts_the_count_again_with_a_new_cnonce() -> None:
    session, exchange = Session(ALICE), Exchange()
    session.challenged([digest("1")], exchange)
    first = parameters(session.answer("INVITE", URI, b"", exchange)[0][1])
    session.challenged([digest("2", stale=True)], exchange)
    second = parameters(session.answer("INVITE", URI, b"", exchange)[0][1])
    assert (first["nc"], second["nc"]) == ("00000001", "00000001")
    assert first["cnonce"] != second["cnonce"]


def test_a_stale_nonce_of_the_call_is_replaced_for_its_bye() -> None:
    session, invite, bye = Session(ALICE), Exchange(), Exchange()
    session.challenged([digest("1")], invite)
    session.answer("INVITE", URI, b"", invite)
    session.answer("BYE", URI, b"", bye)
    assert session.challenged([digest("2")], bye) == Retry()
    assert parameters(session.answer("BYE", URI, b"", bye)[0][1])["nonce"] == "2"


def test_two_requests_challenged_over_one_nonce_are_both_answered() -> None:
    session, options, update = Session(ALICE), Exchange(), Exchange()
    assert session.challenged([digest("1")], options) == Retry()
    session.answer("OPTIONS", URI, b"", options)
    assert session.challenged([digest("1")], update) == Retry()  # it was on its way without credentials
    assert parameters(session.answer("UPDATE", URI, b"", update)[0][1])["nc"] == "00000002"


def test_a_far_end_with_ever_new_realms_is_refused() -> None:
    session, exchange = Session(ALICE), Exchange()
    outcomes = [session.challenged([digest("1", f"realm {n}")], exchange) for n in range(MAX_REALMS + 1)]
    assert outcomes == [Retry()] * MAX_REALMS + [Refused("The trunk asks for credentials in more than 8 realms.")]


PIECES = st.sampled_from(
    [
        "Digest",
        "Basic",
        " ",
        ",",
        "=",
        '"',
        "\\",
        "\r\n ",
        "realm",
        "nonce",
        "qop",
        "algorithm",
        "MD5-sess",
        "auth",
        "ü",
    ]
)
VALUES = st.one_of(
    st.text(max_size=300),
    st.text(st.characters(exclude_categories=()), max_size=100),
    st.lists(PIECES, max_size=60).map("".join),
    st.builds(lambda char, n: char * n, st.sampled_from('",=\\ aD\x00'), st.integers(0, 10_000)),
    st.builds(
        lambda value, at, piece: value[: at % len(value)] + piece + value[at % len(value) :],
        st.sampled_from(list(CHALLENGES.values())),
        st.integers(0, 5000),
        st.text(st.characters(exclude_categories=()), max_size=5),
    ),
)


@given(st.lists(VALUES, max_size=4), st.binary(max_size=20))
def test_no_value_raises_and_every_answer_is_one_line_that_a_server_accepts(values: list[str], body: bytes) -> None:
    challenges = [challenge for value in values for challenge in read_challenges(value, proxy=False)]
    session, exchange = Session(ALICE), Exchange()
    outcome = session.challenged(challenges, exchange)
    fields = session.answer("INVITE", URI, body, exchange)
    if isinstance(outcome, Refused):
        assert fields == []
        assert outcome.reason.isprintable()
        assert len(outcome.reason) < 500
    else:
        assert 1 <= len(fields) <= MAX_REALMS
        for _, field in fields:
            field.encode("utf-8", "surrogateescape")
            assert "\r" not in field
            assert "\n" not in field
            parameters(field)


class Counted(str):
    """Text that counts how often one of its characters or slices is looked at."""

    looks = 0

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        Counted.looks += 1
        return super().__getitem__(key)


@pytest.mark.parametrize(
    "piece", ['"', ",", "=", "\\", " ", "a", "a=", 'a="', 'a="b",', "Digest ", "a b,", '"\\', "a  "]
)
def test_reading_takes_time_in_proportion_to_the_length(piece: str) -> None:
    def looks(times: int) -> int:
        Counted.looks = 0
        read_challenges(Counted(f"Digest {piece * times}"), proxy=False)
        return Counted.looks

    assert looks(8 * 200) <= 9 * looks(200) + 100
