from __future__ import annotations

import json

import pytest

from llmgw.admin.asking import asked, operation_of
from llmgw.config.providers import Anthropic as Settings
from llmgw.core.operation import Operation
from llmgw.core.target import Target
from llmgw.providers.anthropic import Anthropic


@pytest.mark.parametrize(
    ("model", "operation"),
    [
        ("gpt-4o-mini", Operation.CHAT),
        ("claude-sonnet-4-5", Operation.CHAT),
        ("text-embedding-ada-002", Operation.EMBEDDINGS),
        ("BAAI/bge-m3", Operation.EMBEDDINGS),
        ("intfloat/e5-mistral-7b-instruct", Operation.EMBEDDINGS),
        ("nomic-embed-text", Operation.EMBEDDINGS),
        ("voyage-3-large", Operation.EMBEDDINGS),
        ("mistral-embed", Operation.EMBEDDINGS),
        ("BAAI/bge-reranker-v2-m3", Operation.RERANK),
        ("rerank-v3.5", Operation.RERANK),
        ("whisper-1", Operation.TRANSCRIPTION),
        ("gpt-4o-mini-transcribe", Operation.TRANSCRIPTION),
        ("gpt-4o-mini-tts", Operation.SPEECH),
        ("tts-1-hd", Operation.SPEECH),
        ("gpt-image-1", Operation.IMAGE),
        ("black-forest-labs/FLUX.1-schnell", Operation.IMAGE),
        ("meta-llama/Llama-3.3-70B-Instruct", Operation.CHAT),
        ("gpt-4o-audio-preview", Operation.CHAT),
    ],
)
def test_what_a_name_tells(model: str, operation: Operation) -> None:
    assert operation_of(model) is operation


@pytest.mark.parametrize(
    ("operation", "served"),
    [(Operation.CHAT, True), (Operation.EMBEDDINGS, False), (Operation.MODERATION, False)],
)
def test_only_what_a_provider_serves_is_asked(operation: Operation, served: bool) -> None:
    settings = Settings.model_validate({"kind": "anthropic", "api_key": "k"})
    provider = Anthropic("a", settings, "k")
    found = asked(provider, Target("a", "anthropic", None, "claude-x"), operation)

    assert (found is not None) is served
    if found is not None:
        assert json.loads(found.body)["max_tokens"] == 16
