"""`models.*.facts`: what a model can do, where the operator knows better than the shipped data."""

from __future__ import annotations

from pydantic import field_validator

from llmgw.config.quantities import Count
from llmgw.config.section import Flag, Section
from llmgw.core.facts import ModelFacts


class FactsSettings(Section):
    """What a model can do. What is not said is as the shipped data has it, else unknown.

    A request that needs what is `false` here is refused with 400 before any target is asked;
    what is unknown is left for the provider to judge.
    """

    context: Count | None = None
    """Tokens that a request and its answer may have together."""
    max_output: Count | None = None
    """Tokens that an answer may have."""
    images: Flag | None = None
    """Takes pictures."""
    tools: Flag | None = None
    """Calls functions."""
    json_schema: Flag | None = None
    """Can be held to a JSON schema."""
    reasoning: Flag | None = None
    """Thinks before it answers."""

    @field_validator("context", "max_output")
    @classmethod
    def _at_least_one(cls, tokens: int | None) -> int | None:
        if tokens == 0:
            raise ValueError("must be at least 1")
        return tokens

    @property
    def said(self) -> ModelFacts:
        """The same as a value."""
        return ModelFacts(
            self.context, self.max_output, self.images, self.tools, self.json_schema, self.reasoning
        )
