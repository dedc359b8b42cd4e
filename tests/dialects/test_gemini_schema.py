from __future__ import annotations

import json

import pytest

from llmgw.core.errors import InvalidRequest
from llmgw.dialects.gemini_schema import json_schema


def test_geminis_schema_becomes_json_schema() -> None:
    own = {
        "type": "OBJECT",
        "description": "d",
        "properties": {
            "type": {"type": "STRING", "enum": ["a", "b"], "nullable": True},
            "min_items": {"type": "ARRAY", "minItems": "1", "max_items": 3, "items": {"type": "INTEGER"}},
            "any": {"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": True},
            "at": {"type": "STRING", "format": "date-time", "example": "now", "title": None},
            "ref": {"ref": "#/$defs/X"},
        },
        "required": ["type"],
        "propertyOrdering": ["type", "any"],
        "additionalProperties": False,
        "defs": {"X": {"type": "TYPE_UNSPECIFIED"}},
    }

    assert json.loads(json_schema(json.dumps(own), "p")) == {
        "type": "object",
        "description": "d",
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["a", "b", None]},
            "min_items": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "integer"}},
            "any": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
            "at": {"type": "string", "format": "date-time", "examples": ["now"]},
            "ref": {"$ref": "#/$defs/X"},
        },
        "required": ["type"],
        "additionalProperties": False,
        "$defs": {"X": {}},
    }


def test_json_schema_stays_what_it_is() -> None:
    schema = {"type": ["string", "null"], "$ref": "#/$defs/A", "const": 1}

    assert json.loads(json_schema(json.dumps(schema), "p")) == schema


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "[" * 2000])
def test_schema_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        json_schema(text, "tools[0].parameters")

    assert caught.value.param == "tools[0].parameters"
