from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.errors import InvalidRequest
from llmgw.core.rerank import Ranked, RerankAnswer, RerankRequest
from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import COHERE_RERANK
from llmgw.dialects.rerank_cohere import parse_answer, parse_request, render_answer, render_request

BODY: dict[str, Any] = {
    "model": "m",
    "query": "q",
    "documents": ["a", "b"],
    "top_n": 1,
    "max_tokens_per_doc": 9,
    "priority": 1,
}
REQUEST = RerankRequest("m", "q", ("a", "b"), 1, 9, unknown=("priority",))


def parsed(body: object) -> RerankRequest:
    return parse_request(json.dumps(body).encode(), "m", COHERE_RERANK)


def test_a_request_in_full_and_back() -> None:
    rendered = render_request(REQUEST, None)

    assert parsed(BODY) == REQUEST
    assert json.loads(rendered.body) == {name: BODY[name] for name in BODY if name != "priority"}
    assert rendered.dropped == ("priority",)


@pytest.mark.parametrize("name", ["query", "documents"])
def test_what_must_be_there(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed({**BODY, name: None})
    assert refused.value.param == name


def test_an_answer_and_back() -> None:
    """Scores keep their digits; what is billed is searches."""
    body = (
        b'{"id":"r1","results":[{"index":1,"relevance_score":7.80e-05}],'
        b'"meta":{"billed_units":{"search_units":1}}}'
    )
    answer = parse_answer(body)

    assert answer == RerankAnswer((Ranked(1, b"7.80e-05"),), Usage(searches=1), id="r1")
    assert b'"relevance_score":7.80e-05' in render_answer(answer, REQUEST)
    assert json.loads(render_answer(answer, REQUEST))["meta"]["billed_units"] == {"search_units": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"results":[{"index":-1,"relevance_score":1}]}',
        b'{"results":[{"index":0,"relevance_score":null}]}',
        b'{"results":[{"relevance_score":1}]}',
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match="answer"):
        parse_answer(body)
