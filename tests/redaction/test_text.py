"""Texts that come in pieces are redacted as if they were whole."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgw.redaction.kinds import KINDS
from llmgw.redaction.text import HOLD, TextStream, redacted, rules_of
from tests.redaction.test_detectors import FOUND, HOSTILE, LEFT_ALONE

RULES = rules_of(KINDS)
VALUES = [text for texts in (*FOUND.values(), *LEFT_ALONE.values()) for text in texts]
WORDS = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from(HOSTILE),
    st.sampled_from(
        ["x1" * 400, "MIIEvQIBADAN" * 60 + "\n", "-----END RSA PRIVATE KEY-----", "Bearer ", "4" * 60]
    ),
    st.text(alphabet="ab1 .@-+:/()4é\n\\", max_size=8),
)
TEXTS = st.lists(WORDS, max_size=8).flatmap(
    lambda words: st.sampled_from(["", " ", "-", "\n"]).map(lambda between: between.join(words))
)


def in_pieces(text: str, sizes: list[int]) -> tuple[str, int, Counter[str]]:
    """What a stream makes of it, and the most that it held."""
    counts: Counter[str] = Counter()
    stream = TextStream(RULES, counts)
    out, held, at = [], 0, 0
    while at < len(text):
        size = sizes[at % len(sizes)]
        out.append(stream.feed(text[at : at + size]))
        held = max(held, stream.held)
        at += size
    out.append(stream.feed("", last=True))
    return "".join(out), held, counts


@settings(max_examples=600, deadline=None)
@given(TEXTS, st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_k06_however_a_text_is_cut(text: str, sizes: list[int]) -> None:
    counts: Counter[str] = Counter()

    told, held, counted = in_pieces(text, sizes)

    assert told == redacted(text, RULES, counts)
    assert counted == counts
    assert held <= HOLD


def test_text_goes_on_word_by_word() -> None:
    """Only what may yet become a match waits: as a rule the word that is being written."""
    stream = TextStream(RULES, Counter())

    told = [
        stream.feed(piece) for piece in ("Hello", ", wor", "ld. Write to bob", "@example", ".com, ", "please")
    ]

    assert told == ["", "Hello, ", "world. Write to ", "", "[EMAIL], ", ""]
    assert stream.feed("", last=True) == "please"


@pytest.mark.parametrize("value", [text for texts in FOUND.values() for text in texts])
def test_k06_a_value_that_comes_character_by_character(value: str) -> None:
    """No piece that is told has any of it but what other words may have too."""
    told, _, counts = in_pieces(f"So it is {value} and no other.", [1])

    assert value not in told
    assert told.startswith("So it is [")
    assert told.endswith("] and no other.")
    assert counts.total() == 1


def test_a_secret_longer_than_what_is_held_back() -> None:
    """It is told to be one at once, and the rest of it is swallowed."""
    stream = TextStream(RULES, Counter())

    told = stream.feed("eyJhbGciOiJIUzI1NiJ9.eyJ" + "a" * 400)
    told += "".join(stream.feed("b" * 100) for _ in range(20))
    told += stream.feed(" over", last=True)

    assert told == "[SECRET] over"
