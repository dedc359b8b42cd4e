"""Text that is, or contains, a secret: `${env:NAME}`, `${file:PATH}`, or the secret itself.

Parsing finds the references; resolving them is a step of its own (`resolve.py`), so that a
document can be checked, compared and shown without touching any secret. Neither `repr` nor
`str` nor a dump shows a value: references are shown, everything else is masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from llmgw.config.later import LATER_SECRETS
from llmgw.config.problems import nearest
from llmgw.ports.secrets import SecretRef

SCHEMES = ("env", "file")
MASK = "********"

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Part = str | SecretRef


class Secret:
    """Immutable. `parts` are literal text and references, in order."""

    __slots__ = ("_parts", "_value")

    def __init__(self, parts: tuple[Part, ...], value: str | None = None) -> None:
        self._parts = parts
        self._value = value

    @classmethod
    def parse(cls, value: object) -> Secret:
        """Raises ValueError without repeating the value."""
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str) or not value.strip():
            raise ValueError("must be text or a reference such as ${env:NAME}, and not empty")
        if _CONTROL.search(value):
            raise ValueError("contains a line break or control character")
        parts = tuple(_split(value))
        resolved = None if any(isinstance(part, SecretRef) for part in parts) else value
        return cls(parts, resolved)

    @property
    def references(self) -> tuple[SecretRef, ...]:
        return tuple(part for part in self._parts if isinstance(part, SecretRef))

    def resolved(self, values: Mapping[SecretRef, str]) -> Secret:
        """The same text with its references' values filled in. Raises KeyError for a missing one."""
        texts = (values[part] if isinstance(part, SecretRef) else part for part in self._parts)
        return Secret(self._parts, "".join(texts))

    def get_secret_value(self) -> str:
        """The secret. Raises LookupError before its references were resolved."""
        if self._value is None:
            raise LookupError(f"{self} has not been resolved")
        return self._value

    def __str__(self) -> str:
        return "".join(str(part) if isinstance(part, SecretRef) else MASK for part in self._parts)

    def __repr__(self) -> str:
        return f"Secret('{self}')"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return (self._parts, self._value) == (other._parts, other._value)

    def __hash__(self) -> int:
        return hash((self._parts, self._value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "examples": ["${env:NAME}", "${file:PATH}"]}


def looks_like_reference(text: str) -> bool:
    """Whether text that is no secret holds what was meant to be a reference."""
    return any(
        found[1].partition(":")[0] in (*SCHEMES, *LATER_SECRETS) for found in _REFERENCE.finditer(text)
    )


def _split(text: str) -> Iterator[Part]:
    end = 0
    for found in _REFERENCE.finditer(text):
        if found.start() > end:
            yield text[end : found.start()]
        yield _reference(found[1])
        end = found.end()
    rest = text[end:]
    if "${" in rest:
        raise ValueError("contains a reference without its closing brace; write it like ${env:NAME}")
    if rest:
        yield rest


def _reference(inside: str) -> SecretRef:
    scheme, colon, locator = inside.partition(":")
    if scheme in LATER_SECRETS:
        raise ValueError(f"references of the form ${{{scheme}:...}} are not available in this version")
    if not colon:
        raise ValueError("contains a reference without a scheme; write it like ${env:NAME} or ${file:PATH}")
    if scheme not in SCHEMES:
        near = nearest(scheme, SCHEMES)
        hint = f'; did you mean "{near}"?' if near else ""
        raise ValueError(f'unknown reference scheme "{scheme}" (known: {", ".join(SCHEMES)}){hint}')
    if not locator.strip() or (scheme == "env" and not _ENV_NAME.fullmatch(locator)):
        raise ValueError(f"a {scheme} reference needs {'a variable name' if scheme == 'env' else 'a path'}")
    return SecretRef(scheme, locator)
