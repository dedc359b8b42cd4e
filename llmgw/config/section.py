"""What every part of the document has in common: unknown names are errors, values are frozen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    Strict,
    StringConstraints,
    ValidationInfo,
)


class Mistake(ValueError):
    """What a validator refuses. member: which member of the section it concerns."""

    def __init__(self, reason: str, *, member: str | None = None, suggestion: str | None = None) -> None:
        super().__init__(reason)
        self.member = member
        self.suggestion = suggestion


class Section(BaseModel):
    """A part of the document."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


_S = TypeVar("_S", bound=Section)


def inheriting(shared: _S, overrides: Iterable[Section]) -> _S:
    """`shared`, with what narrower sections say in its place. None says nothing.

    overrides: the narrowest first.
    """
    said: dict[str, object] = {}
    for one in overrides:
        for name in type(one).model_fields:
            value = getattr(one, name)
            if value is not None:
                said.setdefault(name, value)
    return shared.model_copy(update=said)


def _from_config_file(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("directory")
    path = path.expanduser()
    return path if base is None else Path(base) / path


Flag = Annotated[bool, Strict()]
"""`true` or `false`. Strict, because pydantic would take the text `off` for false."""

ConfigPath = Annotated[
    Path, AfterValidator(_from_config_file), PlainSerializer(str, return_type=str, when_used="json")
]
"""A path; a relative one starts at the configuration file's directory."""


def _name_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a name must be text")
    return value


_MODEL_NAME = r"^[^\s\x00-\x1f\x7f]+$"

ProviderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
TenantName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
ModelName = Annotated[
    str, BeforeValidator(_name_text), StringConstraints(pattern=_MODEL_NAME, min_length=1, max_length=256)
]
ModelPattern = ModelName
"""A model's name, where `*` stands for anything, as in `claude-*`."""
