from __future__ import annotations

from llmgw.wire.headers import fields_of, pairs_of


def test_a_repeated_field_is_a_list() -> None:
    assert fields_of([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]) == {b"a": b"1, 3", b"b": b"2"}


def test_lines_become_pairs() -> None:
    assert pairs_of(b"a: 1\r\nb: x: y\r\n") == [(b"a", b"1"), (b"b", b"x: y")]
    assert pairs_of(b"") == []
