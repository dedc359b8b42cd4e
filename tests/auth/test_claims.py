"""What a token says, read strictly."""

from __future__ import annotations

import pytest

from llmgw.auth.claims import Claim, NotClaims, any_of, parse_claims, seconds

SAID = {
    "sub": "alice",
    "realm": {"org": "acme", "groups": ["a", "b", 3, True, None, {"x": 1}]},
    "https://example.com/org.unit": "url",
    "dotted.name": "dotted",
    "scope": "openid llm",
    "empty": "",
    "broken": "\ud800",
    "lines": "a\nb",
}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b"\xff{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a": ' + b"1" * 5000 + b"}",
    ],
    ids=lambda text: text[:20],
)
def test_what_can_be_read_in_two_ways_or_none_is_refused(text: bytes) -> None:
    with pytest.raises(NotClaims):
        parse_claims(text)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("sub", ("alice",)),
        ("realm.org", ("acme",)),
        ("realm.groups", ("a", "b", "3", "true")),
        ("https://example.com/org.unit", ("url",)),
        (r"dotted\.name", ("dotted",)),
        ("dotted.name", ()),
        ("realm", ()),
        ("sub.more", ()),
        ("gone", ()),
        ("broken", ()),
    ],
)
def test_a_claim_is_found_by_its_path(name: str, texts: tuple[str, ...]) -> None:
    assert Claim(name).texts(SAID) == texts


def test_words_are_those_of_a_text_or_a_list() -> None:
    assert Claim("scope").words(SAID) == ("openid", "llm")
    assert Claim("s").words({"s": ["a b", "c"]}) == ("a", "b", "c")


@pytest.mark.parametrize("name", ["realm", "realm.groups", "empty", "broken", "lines", "gone", "long"])
def test_what_can_be_nobodys_name_is_none(name: str) -> None:
    """A database would refuse some of them, and others would break a log line."""
    assert Claim(name).identity(SAID | {"long": "x" * 257}) is None


def test_those_that_are_there_are_kept() -> None:
    wanted = [Claim("realm.org"), Claim("realm"), Claim("gone")]

    assert any_of(wanted, SAID) == (("realm.org", ("acme",)), ("realm", ()))


@pytest.mark.parametrize(("value", "moment"), [(1, 1.0), (1.5, 1.5), (0, 0.0), (True, None), ("1", None)])
def test_a_moment_is_a_number(value: object, moment: float | None) -> None:
    assert seconds(value) == moment
    assert seconds(None) is seconds([1]) is seconds(1e300) is None
