"""The JSON Schema knows every name and unit of the document."""

from __future__ import annotations

import json

from llmgw.config.document import Document
from llmgw.config.schema import json_schema


def test_schema_is_json() -> None:
    schema = json.loads(json.dumps(json_schema()))

    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert set(schema["properties"]) == set(Document.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["version"]


def test_schema_explains() -> None:
    """Editors show what a setting does and what its values look like."""
    definitions = json_schema()["$defs"]

    assert "fsync" in definitions["StorageSettings"]["properties"]["durability"]["description"]
    assert definitions["ServerSettings"]["properties"]["lame_duck"]["examples"] == ["30s"]
    assert definitions["ServerSettings"]["properties"]["listen"]["type"] == "string"
    assert "groq" in definitions["OpenAICompatible"]["properties"]["vendor"]["enum"]
    assert definitions["OpenAI"]["properties"]["api_key"]["type"] == "string"


def test_levels_are_off_a_rule_or_rules() -> None:
    """By the names of the file."""
    definitions = json_schema()["$defs"]

    limits = definitions["LimitsSettings"]["properties"]
    assert {"global", "per_ip", "concurrency"} <= set(limits)
    forms = limits["global"]["oneOf"]
    assert forms[0]["$ref"] == "#/$defs/RuleSettings"
    assert forms[1]["items"] == forms[0]
    assert forms[2]["const"] == limits["concurrency"]["anyOf"][1]["const"] == "off"
    assert limits["global"]["default"]["window"] == "1m"
    assert definitions["TenantQuota"]["properties"]["cost"]["anyOf"][0]["examples"] == ["50 USD"]


def test_kinds_are_told_apart() -> None:
    provider = next(iter(json_schema()["properties"]["providers"]["patternProperties"].values()))

    assert set(provider["discriminator"]["mapping"]) == {
        "openai",
        "anthropic",
        "gemini",
        "azure_openai",
        "cohere",
        "mistral",
        "ollama",
        "bedrock",
        "vertex",
        "openai_compatible",
        "echo",
    }
