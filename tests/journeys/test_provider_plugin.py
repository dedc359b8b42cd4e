"""The example of a provider of one's own: installed, listed, and asked."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.fakes.distributions import install_example
from tests.fakes.gateway import RunningGateway
from tests.fakes.process import llmgw
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, json_reply

ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "acme-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
FILE = """
version: 1
providers: {acme: {kind: acme, workspace: research, token: "${env:ACME_TOKEN}"}}
"""


async def test_the_example_serves_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own dialect and in another, with its own credential; and usage is recorded."""
    install_example(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        async with ScriptedUpstream() as upstream:
            upstream.default(json_reply(ANSWER))
            acme = (
                f"acme: {{kind: acme, workspace: research, token: tok, base_url: '{upstream.base_url}', "
                "allow_private: true}"
            )
            models = "acme: {targets: [{provider: acme, model: acme-1}]}"
            async with RunningGateway(upstream, providers=acme, models=models) as gateway:
                same = await gateway.ask(chat("hi", model="acme"))
                other = await gateway.ask(
                    {"model": "acme", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
                    path="/v1/messages",
                )
                records = await gateway.settled(2)
    finally:
        sys.modules.pop("llmgw_acme", None)

    assert same.json["choices"][0]["message"]["content"] == "Hello"
    assert other.json["content"] == [{"type": "text", "text": "Hello"}]
    for request in upstream.requests:
        assert request.target == "/w/research/chat/completions"
        assert request.headers["x-acme-token"] == "tok"
        assert "sk-test" not in request.head.decode()
        assert request.json["model"] == "acme-1"
    assert [(one.input_tokens, one.output_tokens) for one in records] == [(3, 1), (3, 1)]


def test_the_list_says_where_a_kind_is_from(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install_example(site)
    (tmp_path / "llmgw.yaml").write_text(FILE)
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(site)])

    done = llmgw("providers", "list", "--format", "json", cwd=tmp_path, env={"PYTHONPATH": path})
    without = llmgw("config", "check", cwd=tmp_path)

    (row,) = json.loads(done.stdout)
    assert (row["kind"], row["from"]) == ("acme", "llmgw-acme 1.0")
    assert without.returncode == 1
    assert 'no provider kind named "acme"' in without.stderr
