"""The facts of a target's model: what the configuration says, over what the shipped data knows.

The package `genai-prices` knows the context size of most models and nothing else of these; what neither
says is None.
"""

from __future__ import annotations

from dataclasses import fields

from llmgw.core.facts import UNKNOWN, ModelFacts
from llmgw.core.target import Target
from llmgw.tokens.catalogue import context_window


def facts_of(target: Target, said: ModelFacts = UNKNOWN) -> ModelFacts:
    """What is known of the model behind `target`. said: by the configuration; it holds.

    The first question imports the shipped data, which takes a quarter of a second.
    """
    context = said.context
    if context is None:
        context = context_window(target.kind, target.vendor, target.base_url, target.model)
    rest = {field.name: getattr(said, field.name) for field in fields(said) if field.name != "context"}
    return ModelFacts(context=context, **rest)
