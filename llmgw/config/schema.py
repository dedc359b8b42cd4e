"""The document's shape as JSON Schema, for editors.

Put `# yaml-language-server: $schema=llmgw.schema.json` at the top of the file.
"""

from __future__ import annotations

from typing import Any

from llmgw.config.document import Document

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a configuration file."""
    schema = Document.model_json_schema(mode="validation")
    schema["title"] = "llmgw configuration"
    schema["description"] = "Configuration of the llmgw LLM gateway."
    return {"$schema": DIALECT, **schema}
