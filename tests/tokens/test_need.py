from __future__ import annotations

import pytest

from llmgw.dialects.endpoints import GENERATE
from llmgw.tokens.need import Need, input_tokens, need_of, used_tokens
from tests.fakes.exchanges import exchange


@pytest.mark.parametrize(
    ("path", "members", "stated", "choices"),
    [
        ("/v1/chat/completions", {"max_tokens": 7}, 7, 1),
        ("/v1/chat/completions", {"max_tokens": 7, "max_completion_tokens": 9}, 9, 1),
        ("/v1/chat/completions", {"n": 3}, None, 3),
        ("/v1/chat/completions", {"max_tokens": -1, "n": 0}, None, 1),
        ("/v1/chat/completions", {"max_tokens": "7", "n": True}, None, 1),
        ("/v1/chat/completions", {"max_tokens": None}, None, 1),
        ("/v1/chat/completions", {"max_tokens": 10**30}, 10**9, 1),
        ("/v1/chat/completions", {"max_tokens": 1e5}, 100_000, 1),
        ("/v1/chat/completions", {"max_tokens": -0.5}, None, 1),
        ("/v1/completions", {"max_tokens": 7, "best_of": 4, "n": 2}, 7, 4),
        ("/v1/completions", {"max_tokens": 7, "prompt": ["a", "b", "c"]}, 7, 3),
        ("/v1/completions", {"max_tokens": 7, "n": 2, "prompt": [[1, 2], [3]]}, 7, 4),
        ("/v1/completions", {"max_tokens": 7, "prompt": [1, 2, 3]}, 7, 1),
        ("/v1/completions", {"max_tokens": 7, "prompt": []}, 7, 1),
        ("/v1/responses", {"max_output_tokens": 5, "max_tokens": 9}, 5, 1),
        ("/v1/embeddings", {"max_tokens": 9}, 0, 1),
        ("/v1/rerank", {"max_tokens": 9}, 0, 1),
        ("/api/chat", {"options": {"num_predict": 7}, "max_tokens": 9}, 7, 1),
        ("/api/chat", {"options": {"num_predict": -1}}, None, 1),
        ("/api/generate", {"options": "many", "n": 3}, None, 1),
        ("/api/embed", {"options": {"num_predict": 7}}, 0, 1),
    ],
)
def test_what_a_request_asks_for(
    path: str, members: dict[str, object], stated: int | None, choices: int
) -> None:
    """The cap by the operation's own name; a cap that is none is for the provider to refuse."""
    need = need_of(exchange({"model": "m", "input": "x", **members}, path=path))

    assert (need.stated, need.choices) == (stated, choices)
    assert need.input > 0


@pytest.mark.parametrize(
    ("members", "stated", "choices"),
    [
        ({"generationConfig": {"maxOutputTokens": 7}}, 7, 1),
        ({"generationConfig": {"maxOutputTokens": 7, "candidateCount": 3}}, 7, 3),
        ({"generation_config": {"max_output_tokens": 7, "candidate_count": 2}}, 7, 2),
        ({"generationConfig": {"candidateCount": 0}}, None, 1),
        ({"maxOutputTokens": 7}, None, 1),
    ],
)
def test_what_a_gemini_request_asks_for(members: dict[str, object], stated: int | None, choices: int) -> None:
    """In either spelling that Google takes, and for each candidate."""
    ex = exchange({"contents": [], **members})
    ex.endpoint = GENERATE

    assert (need_of(ex).stated, need_of(ex).choices) == (stated, choices)


def test_the_most_it_may_get() -> None:
    """Its cap, else the reserve, for each answer; nothing where none is generated."""
    assert Need(10, 7, 3).output(4096) == 21
    assert Need(10, None, 2).output(4096) == 8192
    assert Need(10, 10**9, 10**9).output(4096) == 10**9
    assert Need(10, 10**9, 10**9).expected == 10 + 10**9
    assert Need(10, 0, 1, True).output(4096) == 0
    assert Need(10, 7, 3).expected == 31
    assert Need(10, None, 3).expected == 10


def test_it_is_worked_out_once() -> None:
    ex = exchange({"model": "m", "messages": [{"role": "user", "content": "hello"}]})

    assert need_of(ex) is need_of(ex)
    assert input_tokens(ex) == need_of(ex).input


def test_nothing_is_used_without_a_record() -> None:
    assert used_tokens(exchange()) == 0
