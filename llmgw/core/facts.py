"""What is known of a model: what fits into it, and what it can do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Each None where nobody says.

    context: tokens that a request and its answer may have together. max_output: of an answer.
    images: takes pictures. tools: calls functions. json_schema: can be held to a schema.
    reasoning: thinks before it answers.
    """

    context: int | None = None
    max_output: int | None = None
    images: bool | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None


UNKNOWN = ModelFacts()
