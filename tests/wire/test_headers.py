from __future__ import annotations

import pytest

from llmgw.wire.headers import fields_of, pairs_of, wait_s


def test_a_repeated_field_is_a_list() -> None:
    assert fields_of([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]) == {b"a": b"1, 3", b"b": b"2"}


def test_lines_become_pairs() -> None:
    assert pairs_of(b"a: 1\r\nb: x: y\r\n") == [(b"a", b"1"), (b"b", b"x: y")]
    assert pairs_of(b"") == []


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"1500")], 1.5),
        ([(b"retry-after", b"Wed, 21 Oct 2015 07:28:00 GMT")], 0.0),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"date", b"x")], None),
    ],
)
def test_how_long_a_refusal_asks_to_wait(fields: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert wait_s(fields) == seconds
