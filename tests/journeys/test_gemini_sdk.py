"""The official Google SDK against a model of another dialect: the built-in `echo`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google import genai

from tests.fakes.process import GatewayProcess, rows

FIRST = """
version: 1
providers: {demo: {kind: echo}}
models: {echo: {targets: [{provider: demo, model: echo}]}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    place: Path = tmp_path_factory.mktemp("gateway")
    (place / "llmgw.yaml").write_text(FIRST)
    gateway = GatewayProcess(place)
    key = str(rows("keys", "create", "--user", "alice", cwd=place)["key"])
    with gateway:
        yield gateway.url.removesuffix("/v1"), key


def client_of(served: tuple[str, str], version: str, key: str | None = None) -> Any:
    options = genai.types.HttpOptions(base_url=served[0], api_version=version)
    return genai.Client(api_key=key or served[1], http_options=options)


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_content_is_generated(served: tuple[str, str], version: str) -> None:
    """Under both paths that the SDK's versions use."""
    with client_of(served, version) as client:
        answer = client.models.generate_content(model="echo", contents="hello there")

    assert "hello there" in answer.text
    assert answer.candidates[0].finish_reason == "STOP"
    assert answer.usage_metadata.prompt_token_count > 0


def test_content_is_streamed(served: tuple[str, str]) -> None:
    with client_of(served, "v1beta") as client:
        chunks = list(client.models.generate_content_stream(model="echo", contents="one two three"))

    assert "one two three" in "".join(chunk.text or "" for chunk in chunks)
    assert chunks[-1].usage_metadata.candidates_token_count > 0


def test_errors_are_the_sdks_own(served: tuple[str, str]) -> None:
    with client_of(served, "v1beta") as client, pytest.raises(genai.errors.ClientError) as unknown:
        client.models.generate_content(model="nobody", contents="hi")
    with client_of(served, "v1beta", "wrong") as client, pytest.raises(genai.errors.ClientError) as stranger:
        client.models.generate_content(model="echo", contents="hi")

    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
    assert stranger.value.code == 401
