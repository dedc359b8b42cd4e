"""The document's shape as JSON Schema, for editors.

Put `# yaml-language-server: $schema=llmgw.schema.json` at the top of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmgw.config.document import Document
from llmgw.config.plugins import installed, load_kind
from llmgw.config.providers import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a configuration file, with the installed kinds of providers.

    Raises PluginError when one of those cannot be loaded.
    """
    schema = Document.model_json_schema(mode="validation")
    unions = list(_unions_of_kinds(schema))
    for kind, points in sorted(installed().items()):
        if kind in KINDS:
            continue
        own = load_kind(kind, points).settings.model_json_schema(mode="validation")
        for name, definition in {**own.pop("$defs", {}), f"kind-{kind}": own}.items():
            schema["$defs"].setdefault(name, definition)
        for union in unions:
            union["oneOf"].append({"$ref": f"#/$defs/kind-{kind}"})
            union["discriminator"]["mapping"][kind] = f"#/$defs/kind-{kind}"
    schema["title"] = "llmgw configuration"
    schema["description"] = "Configuration of the llmgw LLM gateway."
    return {"$schema": DIALECT, **schema}


def _unions_of_kinds(schema: Any) -> Iterator[dict[str, Any]]:
    """Where any kind of provider may stand. Any: a part of a JSON Schema."""
    if isinstance(schema, dict):
        if "echo" in schema.get("discriminator", {}).get("mapping", ()):
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _unions_of_kinds(part)
