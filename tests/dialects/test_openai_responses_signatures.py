"""Signatures that pass through dialects come back as they were, and are told from foreign ones."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.dialects.openai_responses_signatures import (
    CALL,
    REDACTED,
    SIGNED,
    Wrapped,
    pack,
    unpack,
    unwrap,
    wrap,
)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


@given(texts, texts)
def test_packed_is_unpacked(item_id: str, encrypted: str) -> None:
    assert unpack(pack(item_id, encrypted)) == (item_id, encrypted)


def test_packed_is_base64() -> None:
    """Some clients hold a signature as bytes, and decode it."""
    base64.b64decode(pack("rs_1", "gAAA-_=="), validate=True)


@pytest.mark.parametrize("foreign", [None, "", "EqQBCkYIBxgC", "cnMA", "cnMA!", "cnMAYWJj", '{"type":"x"}'])
def test_a_foreign_signature_is_not_unpacked(foreign: str | None) -> None:
    assert unpack(foreign) is None


@given(st.sampled_from([SIGNED, REDACTED, CALL]), texts, texts)
def test_wrapped_is_unwrapped(kind: str, value: str, call_id: str) -> None:
    assert unwrap(wrap(kind, value, call_id)) == Wrapped(kind, value, call_id)


@pytest.mark.parametrize("own", [None, "", "gAAAAABqhb8a", "llmgw:", "llmgw:{}", "llmgw:[1]"])
def test_what_is_not_wrapped_is_left(own: str | None) -> None:
    assert unwrap(own) is None
