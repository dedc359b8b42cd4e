from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.embeddings import BASE64, CLUSTERING, END, QUERY, START, EmbedAnswer, EmbedRequest
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects.embeddings_bedrock import (
    counted,
    embeds,
    joined,
    parse_answer,
    render_request,
    separate,
)

TITAN = "amazon.titan-embed-text-v1"
TITAN_2 = "amazon.titan-embed-text-v2:0"
COHERE_3 = "cohere.embed-english-v3"
COHERE_4 = "us.cohere.embed-v4:0"


def rendered(model: str, *texts: str, **members: Any) -> tuple[Any, tuple[str, ...]]:
    found = render_request(EmbedRequest(model, texts or ("a",), **members), None)
    return json.loads(found.body), found.dropped


@pytest.mark.parametrize(
    ("model", "members", "body"),
    [
        (TITAN, {}, {"inputText": "a"}),
        (TITAN_2, {"dimensions": 256}, {"inputText": "a", "dimensions": 256}),
        ("amazon.titan-embed-g1-text-02", {}, {"inputText": "a"}),
        (
            "amazon.titan-embed-image-v1",
            {"dimensions": 384},
            {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 384}},
        ),
        (COHERE_3, {}, {"texts": ["a"], "input_type": "search_document"}),
        (
            COHERE_3,
            {"task": QUERY, "truncate": START},
            {"texts": ["a"], "input_type": "search_query", "truncate": "START"},
        ),
        (
            COHERE_4,
            {"task": CLUSTERING, "truncate": END, "dimensions": 512},
            {"texts": ["a"], "input_type": "clustering", "truncate": "RIGHT", "output_dimension": 512},
        ),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/cohere.embed-multilingual-v3",
            {"encodings": (BASE64,)},
            {"texts": ["a"], "input_type": "search_document"},
        ),
    ],
)
def test_each_family_has_its_body(model: str, members: dict[str, Any], body: Any) -> None:
    assert rendered(model, **members) == (body, ())


def test_loss_is_named() -> None:
    asked = {"task": QUERY, "truncate": END, "names": {"task": "input_type"}, "unknown": ("priority",)}

    assert rendered(TITAN_2, **asked)[1] == ("input_type", "truncate", "priority")
    assert rendered(COHERE_3, task="of another dialect", title="t")[1] == ("title", "task")


@pytest.mark.parametrize(
    ("model", "texts", "members", "words"),
    [
        (TITAN, ("a",), {"dimensions": 3}, "have one size; leave dimensions out"),
        (COHERE_3, ("a",), {"dimensions": 3, "names": {"dimensions": "size"}}, "leave size out"),
        ("anthropic.claude-3", ("a",), {}, "are not known"),
    ],
)
def test_what_a_family_cannot_be_asked(
    model: str, texts: tuple[str, ...], members: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsupportedOperation, match=words):
        render_request(EmbedRequest(model, texts, **members), None)


def test_titans_answer() -> None:
    """Its count is in the body; numbers keep their digits."""
    body = b'{"embedding":[0.10,-1.5e-3],"inputTextTokenCount":4,"embeddingsByType":{"float":[0.10]}}'
    answer = parse_answer(body)

    assert answer.vectors == (b"[0.10,-1.5e-3]",)
    assert answer.usage is not None
    assert answer.usage.input_tokens == 4


@pytest.mark.parametrize(
    "embeddings", [[[1, 2], [3, 4]], {"float": [[1, 2], [3, 4]], "int8": [[1], [2]]}], ids=["list", "by type"]
)
def test_coheres_answer(embeddings: Any) -> None:
    body = {"id": "c1", "embeddings": embeddings, "texts": ["a", "b"], "response_type": "embeddings_floats"}

    assert parse_answer(json.dumps(body, separators=(",", ":")).encode()) == EmbedAnswer(
        (b"[1,2]", b"[3,4]"), None, id="c1"
    )


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"embedding":{}}', b'{"embeddings":{"int8":[[1]]}}', b'{"embeddings":3}']
)
def test_an_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"embedding"):
        parse_answer(body)


@pytest.mark.parametrize("count", [b"-1", b"true", b"1.5", b'"4"', b"9999999999"])
def test_a_count_that_cannot_be(count: bytes) -> None:
    assert parse_answer(b'{"embedding":[1],"inputTextTokenCount":%b}' % count).usage is None


def test_the_count_of_a_head() -> None:
    name = b"x-amzn-bedrock-input-token-count"
    found = counted([(b"content-type", b"application/json"), (name, b"12")])

    assert found is not None
    assert found.input_tokens == 12
    assert [counted([(name, value)]) for value in (b"", b"-1", b"x", b"9" * 12)] == [None] * 4
    assert counted([]) is None


def test_which_models_embed() -> None:
    assert embeds(TITAN)
    assert embeds(COHERE_4)
    assert not embeds("eu.anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert not embeds("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc")


def test_many_texts_for_titan() -> None:
    """As many bodies, and one answer of theirs; a single text and Cohere's lists stay whole."""
    many = render_request(EmbedRequest(TITAN_2, ("a", "b"), dimensions=256), None).body

    assert [json.loads(body) for body in separate(many) or ()] == [
        {"inputText": "a", "dimensions": 256},
        {"inputText": "b", "dimensions": 256},
    ]
    assert separate(render_request(EmbedRequest(TITAN_2, ("[a",)), None).body) is None
    assert separate(render_request(EmbedRequest(COHERE_3, ("a", "b")), None).body) is None
    answer = parse_answer(
        joined([b'{"embedding":[1.0],"inputTextTokenCount":%d}' % count for count in (3, 4)])
    )
    assert answer.vectors == (b"[1.0]", b"[1.0]")
    assert answer.usage is not None
    assert answer.usage.input_tokens == 7
    uncounted = [b'{"embedding":[1],"inputTextTokenCount":3}', b'{"embedding":[1]}']
    assert parse_answer(joined(uncounted)).usage is None
