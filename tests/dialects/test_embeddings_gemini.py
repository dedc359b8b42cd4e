from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.embeddings import END, EmbedAnswer, EmbedRequest
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.core.usage import Usage
from llmgw.dialects.embeddings_gemini import (
    parse_answer,
    parse_request,
    renamed,
    render_answer,
    render_request,
)
from llmgw.dialects.endpoints import BATCH_EMBED_CONTENTS, EMBED_CONTENT
from llmgw.wire.envelope import Envelope

NAMES = {"task": "taskType", "dimensions": "outputDimensionality"}


def one(text: str, **members: Any) -> dict[str, Any]:
    return {"model": "models/m", "content": {"parts": [{"text": text}]}, **members}


def single(body: object) -> EmbedRequest:
    return parse_request(json.dumps(body).encode(), "m", EMBED_CONTENT)


def batch(*requests: object) -> EmbedRequest:
    return parse_request(json.dumps({"requests": requests}).encode(), "m", BATCH_EMBED_CONTENTS)


def test_one_in_full() -> None:
    body = one("a", taskType="RETRIEVAL_DOCUMENT", title="t", outputDimensionality=3, new=1)

    assert single(body) == EmbedRequest(
        "m",
        ("a",),
        single=True,
        dimensions=3,
        task="document",
        title="t",
        names=NAMES,
        unknown=("new",),
    )


def test_both_of_protobufs_spellings() -> None:
    said = single(one("a", task_type="RETRIEVAL_QUERY", output_dimensionality=3))

    assert (said.task, said.dimensions, said.unknown) == ("query", 3, ())


def test_settings_in_a_member_of_their_own() -> None:
    """The newer form."""
    said = single(one("a", embedContentConfig={"taskType": "CLUSTERING", "outputDimensionality": 3}))

    assert (said.task, said.dimensions, said.unknown) == ("clustering", 3, ())


def test_parts_are_joined() -> None:
    assert single({"content": {"parts": [{"text": "a"}, {"text": "b"}]}}).texts == ("ab",)


def test_a_batch() -> None:
    request = batch(one("a", taskType="CLASSIFICATION"), one("b", taskType="CLASSIFICATION"))

    assert request == EmbedRequest("m", ("a", "b"), task="classification", names=NAMES)


def test_a_batch_of_different_settings() -> None:
    with pytest.raises(UnsupportedOperation, match="for all requests of a batch"):
        batch(one("a", taskType="CLASSIFICATION"), one("b"))


def test_a_task_that_is_not_said_is_none() -> None:
    assert single(one("a", taskType="TASK_TYPE_UNSPECIFIED")).task is None


@pytest.mark.parametrize(
    "body",
    [{}, {"content": {"parts": []}}, {"content": "a"}, one("a", outputDimensionality=0), one("a", title=1)],
)
def test_what_cannot_be_read(body: object) -> None:
    with pytest.raises(InvalidRequest):
        single(body)


def test_what_is_not_text() -> None:
    with pytest.raises(UnsupportedOperation, match="text only"):
        single({"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}})


@pytest.mark.parametrize("requests", [None, [], ["a"], {}])
def test_a_batch_that_is_none(requests: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request(json.dumps({"requests": requests}).encode(), "m", BATCH_EMBED_CONTENTS)
    assert refused.value.param == "requests"


def test_what_an_upstream_is_sent() -> None:
    request = EmbedRequest("m", ("a", "b"), dimensions=3, task="similarity", title="t", truncate=END)
    rendered = render_request(request, None)

    assert json.loads(rendered.body) == {
        "requests": [
            one(text, taskType="SEMANTIC_SIMILARITY", title="t", outputDimensionality=3) for text in "ab"
        ]
    }
    assert rendered.dropped == ("truncate",)
    assert render_request(EmbedRequest("m", ("a",), task="odd"), None).dropped == ("task",)


@pytest.mark.parametrize(
    "body",
    [
        b'{"embedding":{"values":[0.10]},"usageMetadata":{"promptTokenCount":4}}',
        b'{"embeddings":[{"values":[0.10]}],"usageMetadata":{"totalTokenCount":4}}',
    ],
)
def test_an_answer(body: bytes) -> None:
    assert parse_answer(body) == EmbedAnswer((b"[0.10]",), Usage(4))


@pytest.mark.parametrize("body", [b"{}", b'{"embeddings":[{}]}', b'{"embedding":{"values":{}}}', b"nonsense"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match="embedding"):
        parse_answer(body)


def test_an_answer_as_a_client_gets_it() -> None:
    answer = EmbedAnswer((b"[0.10]",), Usage(4))

    assert render_answer(answer, EmbedRequest("m", ("a",), single=True)) == (
        b'{"embedding":{"values":[0.10]},"usageMetadata":{"promptTokenCount":4}}'
    )
    assert render_answer(EmbedAnswer((b"[1]",)), EmbedRequest("m", ("a",))) == (
        b'{"embeddings":[{"values":[1]}]}'
    )


def test_the_model_is_renamed_where_it_is_named() -> None:
    named = Envelope(json.dumps({"requests": [one("a", new=1), {"content": {}}]}).encode())
    edits = renamed(named, "other")

    assert json.loads(edits["requests"]) == [
        {**one("a", new=1), "model": "models/other"},
        {"content": {}, "model": "models/other"},
    ]
    assert renamed(Envelope(b'{"model":"models/m","content":{}}'), "models/other") == {
        "model": b'"models/other"'
    }
    assert renamed(Envelope(b'{"content":{}}'), "other") == {}
