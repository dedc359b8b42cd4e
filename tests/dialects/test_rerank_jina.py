from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.core.rerank import Ranked, RerankAnswer, RerankRequest
from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import RERANK
from llmgw.dialects.rerank_jina import parse_answer, parse_request, render_answer, render_request

RANKS = '"results":[{"index":1,"relevance_score":0.50,"document":{"text":"b"}}]'


def parsed(**members: Any) -> RerankRequest:
    body = {"model": "m", "query": "q", "documents": ["a", {"text": "b"}], **members}
    return parse_request(json.dumps(body).encode(), "m", RERANK)


def test_a_request_in_full() -> None:
    assert parsed(top_n=1, return_documents=True, rank_fields=["text"], max_chunks_per_doc=3) == (
        RerankRequest("m", "q", ("a", "b"), 1, None, True, ("max_chunks_per_doc",))
    )


@pytest.mark.parametrize("members", [{"documents": [{"image": "x"}]}, {"rank_fields": ["title", "text"]}])
def test_what_is_not_ranked_elsewhere(members: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOperation):
        parsed(**members)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"query": None}, "query"),
        ({"documents": None}, "documents"),
        ({"return_documents": 1}, "return_documents"),
    ],
)
def test_what_cannot_be_read(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(**members)
    assert refused.value.param == param


def test_what_an_upstream_is_sent() -> None:
    """The documents are not wanted back: the client's own are at hand."""
    rendered = render_request(RerankRequest("m", "q", ("a",), 1, 9, True, ("new",)), None)

    assert json.loads(rendered.body) == {
        "model": "m",
        "query": "q",
        "documents": ["a"],
        "return_documents": False,
        "top_n": 1,
    }
    assert rendered.dropped == ("max_tokens_per_doc", "new")


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ('"usage":{"total_tokens":15}', Usage(15)),
        ('"usage":{"prompt_tokens":15,"total_tokens":15}', Usage(15)),
        ('"meta":{"billed_units":{"search_units":1}}', Usage(searches=1)),
        ('"usage":null', None),
    ],
)
def test_each_services_usage(told: str, usage: Usage | None) -> None:
    answer = parse_answer(f'{{"id":"r1",{RANKS},{told}}}'.encode())

    assert answer == RerankAnswer((Ranked(1, b"0.50"),), usage, id="r1")


def test_what_is_no_answer() -> None:
    with pytest.raises(ValueError, match="ranks nothing"):
        parse_answer(b'{"data":[]}')


def test_an_answer_as_a_client_gets_it() -> None:
    answer = RerankAnswer((Ranked(1, b"0.50"),), Usage(15, searches=1), model="public", id="r1")
    request = RerankRequest("m", "q", ("a", "b"), returned=True)

    assert json.loads(render_answer(answer, request)) == {
        "id": "r1",
        "model": "public",
        "object": "list",
        "results": [{"index": 1, "relevance_score": 0.5, "document": {"text": "b"}}],
        "usage": {"prompt_tokens": 15, "total_tokens": 15},
        "meta": {"billed_units": {"search_units": 1}},
    }


def test_a_rank_of_nothing() -> None:
    answer = RerankAnswer((Ranked(2, b"1"),))

    with pytest.raises(ValueError, match="document 2, which is not there"):
        render_answer(answer, RerankRequest("m", "q", ("a", "b"), returned=True))
