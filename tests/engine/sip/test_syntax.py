"""Tokens, numbers, quoted strings, lists and parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.syntax import Params, is_token, number, quote, quoted_end, split_list, unquote


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a, b ,c", ["a", "b", "c"]),
        (" ,, a,", ["a"]),
        ("", []),
        ('"a, b" <sip:c,d@e>, f', ['"a, b" <sip:c,d@e>', "f"]),
        (r'"a\", b", c', [r'"a\", b"', "c"]),
        (r'"a\\", b', [r'"a\\"', "b"]),
        ('<sip:"@e>, f', ['<sip:"@e>', "f"]),
        ('"<", b', ['"<"', "b"]),
        ('a, "b, c', ["a", '"b, c']),
        ("a, <b, c", ["a", "<b, c"]),
        (r"a\, b", ["a\\", "b"]),
    ],
)
def test_a_list_is_cut_outside_quotes_and_brackets(text: str, parts: list[str]) -> None:
    assert split_list(text) == parts


@pytest.mark.parametrize("text", ["INVITE", "!interesting-Method0123456789_*+`.%indeed'~", "a"])
def test_tokens(text: str) -> None:
    assert is_token(text)


@pytest.mark.parametrize("text", ["", "a b", "a(b", "a:b", "é", "a\0", "INVITE\r", "<a>"])
def test_other_text_is_no_token(text: str) -> None:
    assert not is_token(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("007", 7), ("0" * 9000 + "1", 1), ("9999999999", 9999999999), ("10000000000", None), ("", None)]
    + [(text, None) for text in ("-1", "+1", " 1", "1 ", "1_0", "²", "٣", "0x1")],
)
def test_a_number_is_ascii_digits_and_has_ten_at_most(text: str, value: int | None) -> None:
    assert number(text) == value


@given(st.text())
def test_a_quoted_string_ends_where_it_was_closed_and_gives_its_text_back(text: str) -> None:
    written = quote(text)
    assert quoted_end(written + '"; "') == len(written)
    assert unquote(written) == text
    assert split_list(f"{written}, a") == [written, "a"]


def test_a_quoted_string_without_an_end_has_none() -> None:
    assert quoted_end('"a') == quoted_end('"') == quoted_end(r'"\"') == quoted_end(r'"a\\\"') == -1
    assert unquote('"') == '"'


def test_parameters_keep_their_order_and_their_names_have_no_case() -> None:
    params = Params.parse(';A=1 ; b; c="x;\\"y"; a=2;;')
    assert str(params) == ';A=1;b;c="x;\\"y";a=2'
    assert [params.get(name) for name in ("a", "B", "C", "d")] == ["1", "", 'x;"y', None]
    assert str(params.with_param("A", "3")) == ';A=3;b;c="x;\\"y"'
    assert str(params.without("a", "C")) == ";b"
    assert str(Params().with_param("x", "a b").with_param("lr").with_param("y", "")) == ';x="a b";lr;y=""'


@pytest.mark.parametrize("param", ["=1", "a b", "a=b c", 'a="', 'a="b"c', "a=b,c", "a=<b>", "é=1", "a="])
def test_a_parameter_that_cannot_be_read_is_left_out(param: str) -> None:
    assert str(Params.parse(f";x;y=1;{param}")) == ";x;y=1"


@given(st.text())
def test_a_value_that_is_set_is_the_value_that_is_read(value: str) -> None:
    assert Params.parse(str(Params().with_param("a", value).with_param("b"))).get("a") == value
