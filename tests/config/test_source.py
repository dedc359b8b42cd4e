"""YAML by the 1.2 core schema, with every line remembered and nothing that grows."""

from __future__ import annotations

import math
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.config.problems import ConfigError, Place
from llmgw.config.source import MAX_SIZE, node_at, parse_yaml, place_of, plain


def read(text: str | bytes) -> object:
    return plain(parse_yaml(text, "f.yaml"))


def refusals(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("2027-01-01", "2027-01-01"),
        ("2027-01-01T12:00:00Z", "2027-01-01T12:00:00Z"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("012", 12),
        ("0o14", 12),
        ("0xC", 12),
        ("-5", -5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("~", None),
        ("null", None),
        ("", None),
        ("'null'", "null"),
        ('"1"', "1"),
        ("! 1", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1),
        ("0b11", "0b11"),
        ("9" * 50, int("9" * 50)),
    ],
)
def test_core_schema(text: str, value: object) -> None:
    """Only what YAML 1.2's core schema names is anything but text."""
    found = read(f"a: {text}\n")

    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value) or text == "!!float 1"


def test_not_a_number() -> None:
    found = read("a: .nan")
    assert isinstance(found, dict)
    assert math.isnan(found["a"])


def test_names_stay_as_typed() -> None:
    """A name is text whatever it looks like."""
    assert read("1: a\ntrue: b\n~: c\n") == {"1": "a", "true": "b", "~": "c"}


def test_places_are_remembered() -> None:
    """A member is where its name is, an item where it begins; what is missing is where its parent is."""
    root = parse_yaml("a:\n  b:\n    - x\n    -\n      c: 1\n", "f.yaml")

    assert place_of(root, ("a", "b")) == Place("f.yaml", 2)
    assert place_of(root, ("a", "b", 0)) == Place("f.yaml", 3)
    assert place_of(root, ("a", "b", 1, "c")) == Place("f.yaml", 5)
    assert place_of(root, ("a", "b", 7)) == Place("f.yaml", 2)
    assert place_of(root, ("a", "z", "y")) == Place("f.yaml", 1)
    assert node_at(root, ("a", "z")) is None


def test_anchors_and_aliases() -> None:
    assert read("a: &x {k: [1]}\nb: *x\nc: [*x]\n") == {"a": {"k": [1]}, "b": {"k": [1]}, "c": [{"k": [1]}]}
    assert read("a: &x name\n*x : 1\n") == {"a": "name", "name": 1}


def test_empty_file() -> None:
    assert read("") == {}
    assert read("# nothing\n") == {}


def test_byte_order_mark() -> None:
    assert read(b"\xef\xbb\xbfa: 1\n") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3 a: defined twice; first at f.yaml:1"),
        ("x: {a: 1,\n a: 2}\n", "f.yaml:2 x.a: defined twice; first at f.yaml:1"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "merge keys are not part of YAML 1.2"),
        ("a: [\n", "f.yaml:2: not valid YAML"),
        ("a: b: c\n", "f.yaml:1: not valid YAML"),
        ("\ta: 1\n", "f.yaml:1: not valid YAML"),
        ("a: &x [*x]\n", "f.yaml:1 a[0]: alias *x contains itself"),
        ("a: *x\n", "alias *x"),
        ("a: !!python/object/apply:os.system [ls]\n", "tag !!python/object/apply:os.system is not supported"),
        ("a: !custom x\n", "tag !custom is not supported"),
        ("a: !!int x\n", "f.yaml:1 a: not a !!int"),
        ("a: !!int true\n", "f.yaml:1 a: not a !!int"),
        ("? [a, b]\n: c\n", "a name must be plain text"),
        ("a: &x [1]\n*x : 1\n", "a name must be plain text"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document"),
        ("a: 1\nb: \x00\n", "f.yaml:2: character U+0000 is not allowed"),
        ("a: \ud800", "character U+D800 is not allowed"),
        (b"a: 1\nb: \xff\n", "f.yaml:2: not UTF-8 text"),
        (b"\xff\xfea\x00", "f.yaml:1: not UTF-8 text"),
    ],
)
def test_l02_bad_yaml(text: str | bytes, refusal: str) -> None:
    """Refused with file and line."""
    assert any(refusal in found for found in refusals(text)), refusals(text)


def test_several_refusals_at_once() -> None:
    assert len(refusals("a: 1\na: 2\nb: !x 1\nc: {d: 1, d: 2}\n")) == 3


def test_l02_alias_bomb() -> None:
    """A file that would expand to billions of nodes is refused without expanding it."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    started = time.monotonic()

    found = refusals("\n".join(lines))

    assert "aliases add more than" in found[0]
    assert time.monotonic() - started < 0.2


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "a: &x " + "[" * 100])
def test_l02_deep_nesting(text: str) -> None:
    assert "nested deeper" in refusals(text)[0] or "not valid YAML" in refusals(text)[0]


def test_l02_huge_file() -> None:
    assert refusals(b" " * (MAX_SIZE + 1)) == ["f.yaml: larger than 8 MiB"]


@given(st.text(alphabet="ab:-[]{}&*!#|>'\"%@` \n\t?,<~1.", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but ConfigError comes out."""
    with suppress(ConfigError):
        parse_yaml(text, "f.yaml")
