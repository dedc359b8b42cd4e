from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.core.exchange import Exchange
from llmgw.core.facts import ModelFacts
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, ENDPOINTS
from llmgw.policies.capabilities import Capabilities

TOOLS = [{"type": "function", "function": {"name": "f"}}]
ASKED = [{"role": "user", "content": "hi"}]


def exchange(path: str = CHAT_COMPLETIONS.path, **members: Any) -> Exchange:
    body = json.dumps({"model": "m", "messages": ASKED, **members}).encode()
    return Exchange("r", ENDPOINTS[path], {}, body, None, 0.0, 0.0, "g")


def test_what_is_lacking_is_refused() -> None:
    with pytest.raises(UnsupportedOperation, match="model 'm' does not take tools"):
        Capabilities("m", ModelFacts(tools=False)).admit(exchange(tools=TOOLS))


@pytest.mark.parametrize("facts", [ModelFacts(), ModelFacts(tools=True), ModelFacts(images=False)])
def test_what_is_unknown_or_there_is_let_through(facts: ModelFacts) -> None:
    Capabilities("m", facts).admit(exchange(tools=TOOLS))


def test_an_empty_list_of_tools_needs_none() -> None:
    Capabilities("m", ModelFacts(tools=False)).admit(exchange(tools=[]))


def test_a_body_that_cannot_be_read_is_refused() -> None:
    """Only where it might hold what the model lacks."""
    policy = Capabilities("m", ModelFacts(tools=False))
    policy.admit(exchange(messages=3))

    with pytest.raises(InvalidRequest):
        policy.admit(exchange(messages=3, tools=TOOLS))


def test_other_operations_are_not_looked_at() -> None:
    Capabilities("m", ModelFacts(tools=False)).admit(exchange("/v1/embeddings", tools=TOOLS))
