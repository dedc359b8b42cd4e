"""Gemini's own schema form as JSON Schema.

`parameters` and `responseSchema` take a subset of OpenAPI 3.0: types in capitals, `nullable`, counts
as strings, `propertyOrdering`. `parametersJsonSchema` and `responseJsonSchema` take JSON Schema, and
that is what is kept and written. (Gemini API reference: Schema, FunctionDeclaration.)
"""

from __future__ import annotations

import msgspec

from llmgw.core.errors import InvalidRequest

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_RENAMED = {
    "any_of": "anyOf",
    "ref": "$ref",
    "defs": "$defs",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "additional_properties": "additionalProperties",
}
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_ORDER = frozenset({"propertyOrdering", "property_ordering"})


def json_schema(schema: str, path: str) -> str:
    """JSON Schema for one of Gemini's, both as JSON text. path: the member, for the error."""
    try:
        value = _decode(schema)
    except (msgspec.MsgspecError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{path}' must be a schema", param=path)
    return _encode(_converted(value)).decode()


def _converted(schema: dict[str, object]) -> dict[str, object]:
    out: dict[str, object] = {}
    for given, value in schema.items():
        name = _RENAMED.get(given, given)
        if name in _ORDER or name == "nullable" or value is None:
            continue
        if name == "type" and isinstance(value, str):
            if value != "TYPE_UNSPECIFIED":
                out["type"] = value.lower()
        elif name == "example":
            out["examples"] = [value]
        elif name in _COUNTS and isinstance(value, str) and value.isdecimal():
            out[name] = int(value)
        elif name in ("properties", "$defs") and isinstance(value, dict):
            out[name] = {key: _nested(inner) for key, inner in value.items()}
        elif name == "anyOf" and isinstance(value, list):
            out[name] = [_nested(inner) for inner in value]
        elif name in ("items", "additionalProperties"):
            out[name] = _nested(value)
        else:
            out[name] = value
    if schema.get("nullable") is True:
        _allow_null(out)
    return out


def _nested(value: object) -> object:
    return _converted(value) if isinstance(value, dict) else value


def _allow_null(schema: dict[str, object]) -> None:
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
    options = schema.get("anyOf")
    if isinstance(options, list):
        schema["anyOf"] = [*options, {"type": "null"}]
    values = schema.get("enum")
    if isinstance(values, list) and None not in values:
        schema["enum"] = [*values, None]
