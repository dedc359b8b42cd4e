from __future__ import annotations

import json

import pytest

from llmgw.core.embeddings import EmbedRequest
from llmgw.core.rerank import RerankRequest
from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import (
    BATCH_EMBED_CONTENTS,
    CHAT_COMPLETIONS,
    COHERE_EMBED,
    COHERE_RERANK,
    EMBED_CONTENT,
    EMBEDDINGS,
    OLLAMA_EMBED,
    RERANK,
    VERTEX_PREDICT,
)
from llmgw.dialects.whole import CountTap, WholeTranslation, is_whole, whole_dialect

KNOWN = [EMBEDDINGS, OLLAMA_EMBED, EMBED_CONTENT, COHERE_EMBED, VERTEX_PREDICT, RERANK, COHERE_RERANK]


def test_what_is_known() -> None:
    assert all(is_whole(endpoint) for endpoint in KNOWN)
    assert not is_whole(CHAT_COMPLETIONS)
    for endpoint in KNOWN:
        dialect = whole_dialect(endpoint)
        assert callable(dialect.render_request)
        assert callable(dialect.parse_answer)


def test_a_translation_counts_for_the_client_what_nobody_counted() -> None:
    """What is settled is not this guess."""
    request = EmbedRequest("public", ("eight by", "te text."))
    made = WholeTranslation(
        b'{"embeddings":[{"values":[1]},{"values":[2]}]}',
        whole_dialect(BATCH_EMBED_CONTENTS),
        whole_dialect(EMBEDDINGS),
        request,
    )

    assert json.loads(made.body)["usage"]["prompt_tokens"] == 4
    assert json.loads(made.body)["model"] == "public"
    assert made.usage is None
    assert made.upstream_id is None
    assert made.delivered_text() == ""


def test_as_many_vectors_as_texts() -> None:
    with pytest.raises(ValueError, match="1 embeddings for 2 texts"):
        WholeTranslation(
            b'{"embeddings":[[1]]}',
            whole_dialect(OLLAMA_EMBED),
            whole_dialect(EMBEDDINGS),
            EmbedRequest("m", ("a", "b")),
        )


def test_ranks_of_nobody_knows_how_many_tokens() -> None:
    made = WholeTranslation(
        b'{"id":"r1","results":[]}',
        whole_dialect(COHERE_RERANK),
        whole_dialect(RERANK),
        RerankRequest("m", "q", ("a",)),
    )

    assert "usage" not in json.loads(made.body)
    assert made.upstream_id == "r1"


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}', Usage(7)),
        (b'{"results":[],"usage":{"total_tokens":7}}', Usage(7)),
        (b'{"embeddings":{"int8":[]},"meta":{"billed_units":{"input_tokens":7}}}', Usage(7)),
        (b'{"results":[],"meta":{"billed_units":{"search_units":1}}}', Usage(searches=1)),
        (b'{"embedding":{},"usageMetadata":{"promptTokenCount":7}}', Usage(7)),
        (b'{"embeddings":[],"prompt_eval_count":7}', Usage(7)),
        (b'{"embedding":[]}', None),
    ],
)
def test_what_goes_on_as_it_came_is_counted_in_every_shape(body: bytes, usage: Usage | None) -> None:
    tap = CountTap(body)

    assert tap.usage == usage
    assert tap.body == body
    assert tap.delivered_text() == ""


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff"])
def test_what_is_not_json(body: bytes) -> None:
    with pytest.raises(ValueError, match="not the JSON that was promised"):
        CountTap(body)
