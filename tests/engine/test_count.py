from __future__ import annotations

import pytest

from llmgw.core.usage import ESTIMATED
from llmgw.engine.count import count
from tests.fakes.exchanges import exchange


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"prompt": "one two three"}, 3),
        ({"prompt": [1, 2, 3, 4]}, 4),
        ({"prompt": ["one", "two three"]}, 3),
        ({"input": "one two three", "instructions": "four"}, 4),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "one two"}]}]}, 2),
        ({"input": [[1, 2], [3]]}, 3),
        ({"messages": [{"role": "user", "content": "hi"}]}, 8),
        ({"messages": "not a list"}, 0),
        ({}, 0),
    ],
)
def test_what_a_request_comes_to(body: dict[str, object], tokens: int) -> None:
    usage = count(exchange({"model": "gpt-4o", **body}), None)

    assert (usage.input_tokens, usage.output_tokens, usage.source) == (tokens, 0, ESTIMATED)


def test_a_body_that_only_passes_through_is_counted_as_text() -> None:
    """A number beyond what the codec holds goes upstream as it came, and is still counted."""
    ex = exchange(b'{"model":"m","messages":[{"role":"user","content":"hi","n":1' + b"0" * 5000 + b"}]}")

    assert count(ex, None).input_tokens > 10
