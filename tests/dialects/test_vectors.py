from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.dialects.vectors import as_base64, as_numbers, checked

singles = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20)


@given(singles)
def test_base64_and_back(values: list[float]) -> None:
    packed = as_base64(json.dumps(values).encode())

    assert base64.b64decode(json.loads(packed)) == struct.pack(f"<{len(values)}f", *values)
    assert json.loads(as_numbers(packed)) == values


def test_what_has_the_form_already_is_not_touched() -> None:
    """Digits included."""
    assert as_numbers(b"[0.10, 1e-7]") == b"[0.10, 1e-7]"
    assert as_base64(b'"AAAA"') == b'"AAAA"'


@pytest.mark.parametrize("vector", [b"null", b"{}", b"1", b""])
def test_what_is_neither(vector: bytes) -> None:
    with pytest.raises(ValueError, match="neither numbers nor base64"):
        checked(vector)


@pytest.mark.parametrize("vector", [b"[1e300]", b'["a"]', b"[null]"])
def test_numbers_that_are_no_floats(vector: bytes) -> None:
    with pytest.raises(ValueError, match="not of 32-bit floats"):
        as_base64(vector)


@pytest.mark.parametrize("vector", [b'"AAA"', b'"A A="', b'"AAAAAAA="'])
def test_text_that_is_no_base64_of_floats(vector: bytes) -> None:
    with pytest.raises(ValueError, match="an embedding is not"):
        as_numbers(vector)
