"""A proof is shown to the provider that made it and to no other, whatever dialect the client speaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import ChatAnswer, ChatRequest, Choice, Message, Text, Thinking
from llmgw.dialects import anthropic, gemini, openai_chat, openai_responses
from llmgw.dialects.gemini_signatures import (
    client_signature,
    is_gemini,
    read_signature,
    upstream_signature,
)
from llmgw.dialects.openai_chat import dialect_for
from llmgw.dialects.openai_responses_signatures import pack

GEMINI, CLAUDE, OPENAI = "CiQB0e2Kb4", "EqQBCgIYAg", pack("rs_1", "gAAAAAB")
PROOFS = {"gemini": f"Z20A{GEMINI}", "anthropic": CLAUDE, "openai_responses": OPENAI}
ON_THE_WIRE = {"gemini": GEMINI, "anthropic": CLAUDE, "openai_responses": "gAAAAAB"}
DIALECTS = {
    "openai_chat": openai_chat.DIALECT,
    "openai_responses": openai_responses.DIALECT,
    "anthropic": anthropic.DIALECT,
    "gemini": gemini.DIALECT,
}
ASKED = Message("user", (Text("and?"),))


def test_gemini_s_own_comes_back_as_it_was() -> None:
    ours = read_signature(GEMINI)

    assert is_gemini(ours)
    assert client_signature(ours) == upstream_signature(ours) == GEMINI


@pytest.mark.parametrize("signature", [CLAUDE, OPENAI])
def test_another_s_passes_through_a_client_and_not_to_gemini(signature: str) -> None:
    assert read_signature(client_signature(signature)) == signature
    assert not is_gemini(signature)
    assert upstream_signature(signature) is None


@pytest.mark.parametrize("signature", ["EqQ+/gIYAg==", "gAAAAAB-x_w="])
def test_either_alphabet_of_base64_comes_back_as_it_was(signature: str) -> None:
    """Google's SDKs decode a signature and send it in the alphabet for URLs."""
    shown = client_signature(signature)
    assert shown is not None

    assert read_signature(shown.translate(str.maketrans("+/", "-_"))) == signature


def test_none_stays_none() -> None:
    assert read_signature(None) is client_signature(None) is upstream_signature(None) is None


def sent_back(client: str, told: Any) -> dict[str, Any]:
    """A request whose history is an answer that the client was given."""
    if client == "openai_chat":
        return {"messages": [told["choices"][0]["message"]]}
    if client == "openai_responses":
        return {"input": told["output"]}
    if client == "anthropic":
        return {"messages": [{"role": "assistant", "content": told["content"]}]}
    return {"contents": [told["candidates"][0]["content"]]}


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("maker", PROOFS)
def test_only_its_maker_is_shown_a_proof(client: str, maker: str) -> None:
    parts = (Thinking("hm", PROOFS[maker]), Text("so"))
    answer = ChatAnswer(id="a1", model="m", choices=(Choice(parts, "stop"),))

    told = json.loads(DIALECTS[client].render_answer(answer))
    body = json.dumps({"model": "m", **sent_back(client, told)}).encode()
    history = DIALECTS[client].parse_request(body, "m", False).messages

    request = ChatRequest(model="m", messages=(*history, ASKED), max_output=9)
    for name in ON_THE_WIRE:
        sent = DIALECTS[name].render_request(request).body.decode()
        assert (ON_THE_WIRE[maker] in sent) is (name == maker), (name, sent)
        assert name == maker or PROOFS[maker] not in sent


@pytest.mark.parametrize("proof", [PROOFS["gemini"], OPENAI])
def test_a_router_is_not_told_that_claude_made_it(proof: str) -> None:
    """OpenRouter's entries name a format. The words stay."""
    messages = (
        Message("assistant", (Thinking("hm", proof), Thinking("", None, OPENAI), Text("so"))),
        ASKED,
    )

    rendered = dialect_for("openrouter").render_request(ChatRequest(model="m", messages=messages))

    (said, _) = json.loads(rendered.body)["messages"]
    assert said["reasoning_details"] == [{"type": "reasoning.text", "text": "hm", "index": 0}]
    assert rendered.dropped == ("signature",)
