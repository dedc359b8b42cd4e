from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.embeddings import START, EmbedAnswer, EmbedRequest
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.core.usage import Usage
from llmgw.dialects.embeddings_cohere import parse_answer, parse_request, render_answer, render_request
from llmgw.dialects.endpoints import COHERE_EMBED

NAMES = {"task": "input_type", "dimensions": "output_dimension"}


def parsed(**members: Any) -> EmbedRequest:
    return parse_request(json.dumps({"model": "m", **members}).encode(), "m", COHERE_EMBED)


def test_a_request_in_full() -> None:
    request = parsed(
        texts=["a", "b"],
        input_type="search_query",
        embedding_types=["float", "base64"],
        output_dimension=3,
        truncate="START",
        max_tokens=9,
    )

    assert request == EmbedRequest(
        "m",
        ("a", "b"),
        encodings=("float", "base64"),
        dimensions=3,
        task="query",
        truncate=START,
        names=NAMES,
        unknown=("max_tokens",),
    )


def test_inputs_of_parts() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    assert parsed(inputs=[{"content": content}], input_type="image").texts == ("ab",)


@pytest.mark.parametrize(
    "members",
    [
        {"images": ["data:image/png;base64,AA=="]},
        {"inputs": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"texts": ["a"], "embedding_types": ["int8"]},
    ],
)
def test_what_other_models_are_not_given(members: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOperation):
        parsed(**members)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({}, "texts"),
        ({"texts": "a"}, "texts"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [{"content": []}]}, "inputs"),
        ({"texts": ["a"], "truncate": "MIDDLE"}, "truncate"),
        ({"texts": ["a"], "embedding_types": []}, "embedding_types"),
    ],
)
def test_what_cannot_be_read(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(**members)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("task", "said", "dropped"),
    [
        (None, "search_document", ()),
        ("query", "search_query", ()),
        ("similarity", "search_document", ("task",)),
    ],
)
def test_what_an_upstream_is_sent(task: str | None, said: str, dropped: tuple[str, ...]) -> None:
    """It must be told what the vectors are for."""
    rendered = render_request(EmbedRequest("m", ("a",), dimensions=3, task=task, truncate=START), None)

    assert json.loads(rendered.body) == {
        "model": "m",
        "texts": ["a"],
        "input_type": said,
        "embedding_types": ["float"],
        "output_dimension": 3,
        "truncate": "START",
    }
    assert rendered.dropped == dropped


def test_an_answer() -> None:
    body = b'{"id":"c1","embeddings":{"float":[[0.10]]},"meta":{"billed_units":{"input_tokens":4}}}'

    assert parse_answer(body) == EmbedAnswer((b"[0.10]",), Usage(4), id="c1")
    assert parse_answer(b'{"embeddings":{"base64":["AAAA"]}}').vectors == (b'"AAAA"',)


@pytest.mark.parametrize("body", [b"{}", b'{"embeddings":{}}', b'{"embeddings":{"int8":[[1]]}}', b"\xff"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match="embeddings"):
        parse_answer(body)


def test_an_answer_as_a_client_gets_it() -> None:
    answer = EmbedAnswer((b"[1.0]",), Usage(4), id="c1")
    request = EmbedRequest("m", ("a",), encodings=("float", "base64"))

    assert json.loads(render_answer(answer, request)) == {
        "id": "c1",
        "embeddings": {"float": [[1.0]], "base64": ["AACAPw=="]},
        "texts": ["a"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 4}},
        "response_type": "embeddings_by_type",
    }
