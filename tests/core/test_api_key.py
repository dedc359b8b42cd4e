from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.api_key import digest, generate, parse_digest, public_id, render_digest


def test_a_generated_key_has_its_public_id() -> None:
    name, key = generate()

    assert public_id(key) == name
    assert len(name) == 16
    assert key.startswith(f"llmgw_{name}_")
    assert len(key.removeprefix(f"llmgw_{name}_")) == 43


def test_generated_keys_differ() -> None:
    made = [generate() for _ in range(500)]

    assert len({name for name, _ in made}) == 500
    assert len({key for _, key in made}) == 500


@pytest.mark.parametrize(
    "text",
    ["", "llmgw_", "sk-abc", "llmgw_" + "A" * 16 + "_" + "x" * 43, "llmgw_" + "a" * 16 + "-" + "x" * 43,
     "llmgw_" + "a" * 16 + "_" + "x" * 42, "llmgw_" + "a'--" * 4 + "_" + "x" * 43],
)  # fmt: skip
def test_other_forms_have_no_public_id(text: str) -> None:
    assert public_id(text) is None


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    assert public_id(text) is None
    assert len(digest(text)) == 32


def test_the_digest_covers_the_whole_key() -> None:
    _, key = generate()

    assert digest(key) == hashlib.sha256(key.encode()).digest()
    assert digest(key) != digest(key[:-1])


def test_digest_text_goes_both_ways() -> None:
    value = digest("x")

    assert parse_digest(render_digest(value)) == value


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:zz", "ab" * 32, "sha256:" + "ab" * 31, "md5:" + "a" * 64]
)
def test_other_digest_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - also the builtin's own message
        parse_digest(text)
