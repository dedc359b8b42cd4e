from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.embeddings import END, START, EmbedAnswer, EmbedRequest
from llmgw.core.usage import Usage
from llmgw.dialects.embeddings_vertex import parse_answer, render_request


def test_what_an_upstream_is_sent() -> None:
    request = EmbedRequest("m", ("a", "b"), dimensions=3, task="document", title="t", truncate=END)
    rendered = render_request(request, None)

    assert json.loads(rendered.body) == {
        "instances": [{"content": text, "task_type": "RETRIEVAL_DOCUMENT", "title": "t"} for text in "ab"],
        "parameters": {"outputDimensionality": 3, "autoTruncate": True},
    }
    assert rendered.dropped == ()


def test_what_it_has_no_word_for() -> None:
    rendered = render_request(EmbedRequest("m", ("a",), task="odd", truncate=START), None)

    assert json.loads(rendered.body) == {"instances": [{"content": "a"}]}
    assert rendered.dropped == ("truncate", "task")


def prediction(*counts: object) -> bytes:
    found: list[dict[str, Any]] = [{"embeddings": {"values": [0.5]}} for _ in counts]
    for one, count in zip(found, counts, strict=True):
        if count is not None:
            one["embeddings"]["statistics"] = {"token_count": count, "truncated": False}
    return json.dumps({"predictions": found}).encode()


def test_an_answer() -> None:
    """Each prediction counts its own tokens; where one does not, nothing is known."""
    assert parse_answer(prediction(3.0, 4)) == EmbedAnswer((b"[0.5]", b"[0.5]"), Usage(7))
    assert parse_answer(prediction(3, None)).usage is None


@pytest.mark.parametrize("body", [b"{}", b'{"predictions":[{}]}', b"["])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match="no embeddings"):
        parse_answer(body)
