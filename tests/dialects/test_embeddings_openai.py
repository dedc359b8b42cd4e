from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.embeddings import END, NONE, EmbedAnswer, EmbedRequest
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.core.usage import Usage
from llmgw.dialects.embeddings_openai import parse_answer, parse_request, render_answer, render_request
from llmgw.dialects.endpoints import EMBEDDINGS


def parsed(**members: Any) -> EmbedRequest:
    return parse_request(json.dumps({"model": "m", **members}).encode(), "m", EMBEDDINGS)


def test_a_request_in_full() -> None:
    request = parsed(
        input=["a", "b"],
        encoding_format="base64",
        dimensions=256,
        input_type="search_query",
        user="u",
        new=1,
    )

    assert request == EmbedRequest(
        "m",
        ("a", "b"),
        encodings=("base64",),
        dimensions=256,
        task="query",
        names={"task": "input_type"},
        unknown=("user", "new"),
    )


def test_one_text() -> None:
    assert parsed(input="a").texts == ("a",)


@pytest.mark.parametrize("task", ["query", "retrieval.query", "search_query"])
def test_vendors_words_for_a_task(task: str) -> None:
    assert parsed(input="a", task=task).task == "query"


def test_a_word_nobody_else_has_is_kept() -> None:
    assert parsed(input="a", task="code.query").task == "code.query"


@pytest.mark.parametrize("given", [[1, 2], [[1], [2]], ["a", 1], [{"image": "x"}]])
def test_what_is_not_text(given: object) -> None:
    with pytest.raises(UnsupportedOperation) as refused:
        parsed(input=given)
    assert refused.value.param == "input"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 1}, "input"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "input_type": 1}, "input_type"),
    ],
)
def test_what_cannot_be_read(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(**members)
    assert refused.value.param == param


def test_what_an_upstream_is_sent() -> None:
    request = EmbedRequest(
        "m",
        ("a",),
        dimensions=2,
        task="query",
        title="t",
        truncate=END,
        names={"task": "taskType"},
        unknown=("keep_alive",),
    )
    rendered = render_request(request, None)

    assert json.loads(rendered.body) == {"model": "m", "input": ["a"], "dimensions": 2}
    assert rendered.dropped == ("title", "truncate", "taskType", "keep_alive")


def test_a_text_that_is_too_long_is_refused_anyway() -> None:
    assert render_request(EmbedRequest("m", ("a",), truncate=NONE), None).dropped == ()


@pytest.mark.parametrize(
    ("vendor", "task", "said"),
    [
        ("jina", "document", {"task": "retrieval.passage"}),
        ("jina", None, {}),
        ("nvidia", "query", {"input_type": "query"}),
        ("nvidia", None, {"input_type": "passage"}),
    ],
)
def test_vendors_that_are_told_the_task(vendor: str, task: str | None, said: dict[str, str]) -> None:
    rendered = render_request(EmbedRequest("m", ("a",), task=task), vendor)

    assert json.loads(rendered.body) == {"model": "m", "input": ["a"], **said}
    assert rendered.dropped == ()


def test_mistrals_own_word() -> None:
    rendered = render_request(EmbedRequest("m", ("a",), dimensions=2), "mistral")

    assert json.loads(rendered.body)["output_dimension"] == 2


def test_an_answer_is_read_in_the_order_of_its_texts() -> None:
    data = [{"index": 1, "embedding": [1.50]}, {"index": 0, "embedding": "AACAPw=="}]
    answer = parse_answer(
        b'{"id":"e1","usage":{"prompt_tokens":3},"data":' + json.dumps(data).encode() + b"}"
    )

    assert answer == EmbedAnswer((b'"AACAPw=="', b"[1.5]"), Usage(3), id="e1")


@pytest.mark.parametrize("body", [b"{}", b'{"data":[{}]}', b'{"data":[{"embedding":null}]}', b"[", b"\xff"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match="embedding"):
        parse_answer(body)


def test_an_answer_as_a_client_gets_it() -> None:
    answer = EmbedAnswer((b"[0.10]", b'"AACAPw=="'), Usage(3), model="public")
    body = render_answer(answer, EmbedRequest("m", ("a", "b")))

    assert b'"embedding":[0.10]' in body
    assert json.loads(body) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.1]},
            {"object": "embedding", "index": 1, "embedding": [1.0]},
        ],
        "model": "public",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
