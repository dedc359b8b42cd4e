from __future__ import annotations

import pytest

from llmgw.engine.last_words import first_error, is_unclosed_error, unclosed_event


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (b"", b""),
        (b'data: {"a": 1}', b'data: {"a": 1}\n\n'),
        (b"data: [DONE]\n", b"data: [DONE]\n\n\n"),
        (b'data: {"a": ', b""),
        (b"event: ping", b""),
        (b"data: \xff", b""),
    ],
)
def test_what_was_not_closed_is_told_when_it_is_whole(rest: bytes, told: bytes) -> None:
    assert unclosed_event(rest, failed=False) == told


def test_what_says_what_went_wrong_is_told_as_it_is() -> None:
    assert unclosed_event(b'data: {"error": ', failed=True) == b'data: {"error": \n\n'


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'data: {"error": 1}\n\n', b'{"error": 1}'),
        (b': soon\n\nevent: ping\ndata: {}\n\nevent: error\ndata: {"error": 2}\n\n', b'{"error": 2}'),
        (b'{"error": 3}\n', b'{"error": 3}\n'),
    ],
)
def test_the_error_that_a_stream_began_with(data: bytes, error: bytes) -> None:
    assert first_error(data) == error


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'data: {"error": {"message": "no"}}', True),
        (b'event: error\ndata: {"type": "error"}\n', True),
        (b'data: {"error": {"mess', False),
        (b'data: {"error": null}', False),
        (b'data: {"choices": [{"delta": {"content": "an error"}}], "error": 1}', False),
        (b'data: {"choices": []}', False),
        (b'data: ["error"]', False),
        (b"", False),
    ],
)
def test_an_error_that_was_not_closed(data: bytes, expected: bool) -> None:
    assert is_unclosed_error(data) is expected
