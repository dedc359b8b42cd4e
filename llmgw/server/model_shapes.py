"""A model's name in the shapes that clients list models in, with no more than is known of it.

Facts: the API references of OpenAI, Anthropic and Gemini ("Models"), and Ollama's `api.md`, "List Local
Models" and "Show Model Information".
"""

from __future__ import annotations

from typing import Any

from llmgw.core.facts import ModelFacts

_DETAILS = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": None,
    "parameter_size": "",
    "quantization_level": "",
}


def anthropic_list(names: list[str]) -> dict[str, Any]:
    return {
        "data": [
            {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
            for name in names
        ],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


def gemini_model(name: str, facts: ModelFacts) -> dict[str, Any]:
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    known = {
        "inputTokenLimit": facts.context,
        "outputTokenLimit": facts.max_output,
        "thinking": facts.reasoning,
    }
    return {
        "name": f"models/{name}",
        "displayName": name,
        "supportedGenerationMethods": methods,
        **{member: value for member, value in known.items() if value is not None},
    }


def ollama_model(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": "1970-01-01T00:00:00Z",
        "size": 0,
        "digest": "",
        "details": _DETAILS,
    }


def ollama_details(name: str, facts: ModelFacts) -> dict[str, Any]:
    """capabilities: tools unless they are known to be missing, as older clients ask for nothing else."""
    able = {"completion": True, "tools": facts.tools is not False}
    able |= {"vision": facts.images is True, "thinking": facts.reasoning is True}
    info = {"general.architecture": "llmgw", "llmgw.context_length": facts.context}
    return {
        "modelfile": f"FROM {name}\n",
        "parameters": "",
        "template": "",
        "details": _DETAILS,
        "model_info": info if facts.context is not None else {},
        "capabilities": [capability for capability, has in able.items() if has],
        "modified_at": "1970-01-01T00:00:00Z",
    }


def openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llmgw"}
