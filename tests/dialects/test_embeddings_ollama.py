from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.embeddings import END, NONE, START, EmbedAnswer, EmbedRequest
from llmgw.core.errors import InvalidRequest
from llmgw.core.usage import Usage
from llmgw.dialects.embeddings_ollama import parse_answer, parse_request, render_answer, render_request
from llmgw.dialects.endpoints import OLLAMA_EMBED, OLLAMA_EMBED_ONE


def parsed(**members: Any) -> EmbedRequest:
    return parse_request(json.dumps({"model": "m", **members}).encode(), "m", OLLAMA_EMBED)


def test_a_request_in_full() -> None:
    request = parsed(input=["a"], truncate=False, dimensions=3, keep_alive="5m", options={"num_ctx": 9})

    assert request == EmbedRequest(
        "m", ("a",), dimensions=3, truncate=NONE, unknown=("keep_alive", "options")
    )
    assert parsed(input="a", truncate=True) == EmbedRequest("m", ("a",), truncate=END)


def test_the_older_path() -> None:
    body = b'{"model":"m","prompt":"a","options":{}}'

    assert parse_request(body, "m", OLLAMA_EMBED_ONE) == EmbedRequest(
        "m", ("a",), single=True, unknown=("options",)
    )
    with pytest.raises(InvalidRequest, match="no 'prompt'"):
        parse_request(b'{"model":"m"}', "m", OLLAMA_EMBED_ONE)


@pytest.mark.parametrize(
    ("members", "param"),
    [({}, "input"), ({"input": [1]}, "input"), ({"input": "a", "truncate": "yes"}, "truncate")],
)
def test_what_cannot_be_read(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(**members)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("truncate", "said", "dropped"),
    [
        (END, {"truncate": True}, ()),
        (NONE, {"truncate": False}, ()),
        (START, {}, ("truncate",)),
        (None, {}, ()),
    ],
)
def test_what_an_upstream_is_sent(
    truncate: str | None, said: dict[str, bool], dropped: tuple[str, ...]
) -> None:
    rendered = render_request(EmbedRequest("m", ("a",), dimensions=3, truncate=truncate), None)

    assert json.loads(rendered.body) == {"model": "m", "input": ["a"], "dimensions": 3, **said}
    assert rendered.dropped == dropped


def test_an_answer() -> None:
    answer = parse_answer(b'{"model":"m","embeddings":[[0.10],[2]],"prompt_eval_count":4}')

    assert answer == EmbedAnswer((b"[0.10]", b"[2]"), Usage(4))
    assert parse_answer(b'{"embeddings":[]}').usage is None
    with pytest.raises(ValueError, match="no embeddings"):
        parse_answer(b'{"embedding":[1]}')


def test_an_answer_as_a_client_gets_it() -> None:
    answer = EmbedAnswer((b"[0.10]",), Usage(4), model="public")

    assert json.loads(render_answer(answer, EmbedRequest("m", ("a",)))) == {
        "model": "public",
        "embeddings": [[0.1]],
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": 4,
    }
    assert render_answer(answer, EmbedRequest("m", ("a",), single=True)) == b'{"embedding":[0.10]}'
