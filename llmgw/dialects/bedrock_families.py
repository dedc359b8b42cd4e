"""What the models behind Bedrock's Converse differ in, told by their names.

Facts (Amazon Bedrock user guide, "Supported models and model features", "Prompt caching", "Inference
request parameters"): Claude and Nova take cache points and the status of a tool's result, Claude alone
cache points after tools; `top_k` and reasoning are the model's own words, in additionalModelRequestFields.
"""

from __future__ import annotations

from msgspec import Struct


class Family(Struct, frozen=True):
    """marks, tool_marks: takes cache points in messages and system, and after tools.

    status: takes the status of a tool's result. thoughts: takes its own earlier thoughts back.
    effort: takes `reasoning_effort`. top_k: where that goes, None where it is not taken.
    """

    marks: bool = False
    tool_marks: bool = False
    status: bool = False
    thoughts: bool = False
    effort: bool = False
    top_k: tuple[str, ...] | None = None


CLAUDE = Family(marks=True, tool_marks=True, status=True, thoughts=True, top_k=("top_k",))
NOVA = Family(marks=True, status=True, top_k=("inferenceConfig", "topK"))
GPT_OSS = Family(effort=True)
OTHERS = Family()
"""Also a model whose ARN does not tell what it is."""

_FAMILIES = (("claude", CLAUDE), ("amazon.nova", NOVA), ("gpt-oss", GPT_OSS))


def family_of(model: str) -> Family:
    """The family of the model with this id, inference profile or ARN."""
    return next((family for word, family in _FAMILIES if word in model), OTHERS)
