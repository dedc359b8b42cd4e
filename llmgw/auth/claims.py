"""What a token says: strict JSON, paths to claims, and claims as texts. Pure.

A member that appears twice is refused, since two readers could disagree about it. A claim is
never made up: one of another type than it should have is as if it were not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmgw.config.issuers import claim_path

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_NAME = 256


class NotClaims(ValueError):
    """The text is no JSON object, or one that can be read in two ways."""


def parse_claims(data: bytes) -> dict[str, Any]:
    """The object in a JSON text. Raises NotClaims."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotClaims("it is not JSON, or says something twice") from error
    if not isinstance(found, dict):
        raise NotClaims("it is not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise NotClaims("a member is there twice")
    return made


def _no_constant(text: str) -> Any:
    raise NotClaims(f"{text} is not JSON")


class Claim:
    """One claim of any token. name: as the configuration has it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._path = claim_path(name)

    def of(self, claims: Mapping[str, Any]) -> Any:  # Any: whatever a token holds
        """Its value, None where it is not there."""
        found: Any = claims
        for member in self._path:
            if not isinstance(found, dict):
                return None
            found = found.get(member)
        return found

    def texts(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Its values: several of a list, `true` and numbers as JSON writes them."""
        found = self.of(claims)
        values = found if isinstance(found, list) else [found]
        return tuple(text for text in map(_text, values) if text is not None)

    def words(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Its values, where a text is a list of words."""
        return tuple(word for text in self.texts(claims) for word in text.split())

    def identity(self, claims: Mapping[str, Any]) -> str | None:
        """Its value as somebody's name; None for what can be none, such as a number or a line break."""
        found = self.of(claims)
        if not isinstance(found, str) or not 0 < len(found) <= _MAX_NAME or _CONTROL.search(found):
            return None
        return _text(found)


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair: no journal and no database takes it.
        return None
    return value


def seconds(value: object) -> float | None:
    """A moment, as RFC 7519 has it; None for what is none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e15 else None  # type: ignore[arg-type]


def any_of(claims: Sequence[Claim], said: Mapping[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The values of those of `claims` that are there, by name; of an object, none."""
    return tuple((claim.name, claim.texts(said)) for claim in claims if claim.of(said) is not None)
