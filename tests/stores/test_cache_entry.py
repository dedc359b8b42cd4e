from __future__ import annotations

from struct import pack

import pytest

from llmgw.stores.cache_entry import sealed, unsealed
from tests.contracts.cache import key

SECRET = b"s" * 32
ENTRY = sealed(SECRET, key("a"), b"value", 1.0, 2.0)


def test_what_was_sealed() -> None:
    assert unsealed(SECRET, key("a"), ENTRY) == (b"value", 1.0, 2.0)


@pytest.mark.parametrize("bit", range(8 * len(ENTRY)))
def test_i10_a_flipped_bit(bit: int) -> None:
    """No bit can be changed without its being noticed."""
    damaged = bytearray(ENTRY)
    damaged[bit // 8] ^= 1 << bit % 8

    assert unsealed(SECRET, key("a"), bytes(damaged)) is None


@pytest.mark.parametrize("size", range(len(ENTRY)))
def test_i10_one_that_was_cut(size: int) -> None:
    assert unsealed(SECRET, key("a"), ENTRY[:size]) is None


def test_i10_another_version() -> None:
    later = ENTRY[:4] + pack(">H", 2) + ENTRY[6:]

    assert unsealed(SECRET, key("a"), later) is None


def test_another_key_or_secret() -> None:
    """An entry that was moved to another key is nobody's."""
    assert unsealed(SECRET, key("b"), ENTRY) is None
    assert unsealed(b"t" * 32, key("a"), ENTRY) is None
