from __future__ import annotations

import json
from typing import Any, cast

import pytest

from llmgw.core.exchange import Exchange
from llmgw.core.operation import Endpoint
from llmgw.core.target import Target
from llmgw.dialects.endpoints import (
    BATCH_EMBED_CONTENTS,
    CHAT_COMPLETIONS,
    GENERATE,
    MESSAGES,
    OLLAMA_CHAT,
    RAW_PREDICT,
)
from llmgw.engine.convert import upstream_body, with_members
from llmgw.engine.plan import lane
from llmgw.wire.envelope import Envelope

NOBODY = cast("Any", None)


def sent(
    body: bytes,
    endpoint: Endpoint,
    *,
    model: str = "m",
    own: Endpoint | None = None,
    clamp: int | None = None,
) -> bytes:
    """What a target with the model `m` is sent. own: its endpoint, if it is another."""
    ex = Exchange("r", endpoint, {}, body, None, 0.0, 0.0, "gen")
    ex.envelope = Envelope(body)
    ex.model = model
    ex.clamp = clamp
    target = Target("p", "openai_compatible", None, "m")
    one = lane(target, NOBODY, NOBODY, model=model, generation="gen", owned=False, health=NOBODY)
    return upstream_body(ex, one, own or endpoint)


@pytest.mark.parametrize("endpoint", [CHAT_COMPLETIONS, OLLAMA_CHAT, MESSAGES])
def test_nothing_to_change_changes_no_byte(endpoint: Endpoint) -> None:
    body = b'{ "model" : "m", "n":1.50 }'

    assert sent(body, endpoint) == body
    assert json.loads(sent(body, endpoint, model="public")) == json.loads(body)


@pytest.mark.parametrize(
    ("endpoint", "body", "capped"),
    [
        (CHAT_COMPLETIONS, {"model": "m"}, {"model": "m", "max_tokens": 9}),
        (OLLAMA_CHAT, {"model": "m"}, {"model": "m", "options": {"num_predict": 9}}),
        (
            OLLAMA_CHAT,
            {"model": "m", "options": {"top_k": 1}},
            {"model": "m", "options": {"top_k": 1, "num_predict": 9}},
        ),
        (OLLAMA_CHAT, {"model": "m", "options": "odd"}, {"model": "m", "options": "odd"}),
        (GENERATE, {"contents": []}, {"contents": [], "generationConfig": {"maxOutputTokens": 9}}),
        (
            GENERATE,
            {"generationConfig": {"topK": 1}},
            {"generationConfig": {"topK": 1, "maxOutputTokens": 9}},
        ),
    ],
)
def test_the_cap_stands_where_the_dialect_looks(endpoint: Endpoint, body: object, capped: object) -> None:
    assert json.loads(sent(json.dumps(body).encode(), endpoint, clamp=9)) == capped


def test_the_model_in_geminis_embeddings() -> None:
    body = b'{"requests":[{"model":"models/public","content":{}}]}'

    assert sent(body, BATCH_EMBED_CONTENTS, model="public") == body.replace(b"public", b"m")
    assert sent(body, BATCH_EMBED_CONTENTS) == body


def test_members_that_an_endpoint_must_and_must_not_have() -> None:
    """Of Claude on Vertex AI: other members keep their bytes and their order."""
    body = b'{"max_tokens": 9, "model":"public" ,"new":1.50,"messages":[ ]}'

    assert sent(body, MESSAGES, own=RAW_PREDICT, model="public") == (
        b'{"max_tokens":9,"new":1.50,"messages":[ ],"anthropic_version":"vertex-2023-10-16"}'
    )


def test_members_of_an_empty_body() -> None:
    assert with_members(Envelope(b"{}"), (("a", b"1"), ("b", None))) == b'{"a":1}'
