"""Reads the members of small requests: objects of a few known members, and what else they hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from llmgw.core.errors import InvalidRequest

_decode = msgspec.json.Decoder().decode
_ABSURD = 10**9


def read_object(body: bytes) -> dict[str, object]:
    """The body as an object, without members that are null. Raises InvalidRequest."""
    try:
        document = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body cannot be read: {str(error).lower()}") from None
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object")
    return {name: value for name, value in document.items() if value is not None}


def text_of(members: Mapping[str, object], name: str) -> str | None:
    """A member that is text, None when it is absent. Raises InvalidRequest."""
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"member '{name}' must be a string", param=name)
    return value


def flag_of(members: Mapping[str, object], name: str) -> bool | None:
    """A member that is true or false, None when it is absent. Raises InvalidRequest."""
    value = members.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"member '{name}' must be a boolean", param=name)
    return value


def count_of(members: Mapping[str, object], name: str) -> int | None:
    """A member that is a whole number of at least 1, None when it is absent. Raises InvalidRequest."""
    value = members.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= _ABSURD:
        raise InvalidRequest(f"member '{name}' must be a whole number of at least 1", param=name)
    return value


def texts_of(members: Mapping[str, object], name: str) -> tuple[str, ...]:
    """A member that is a list of texts, not empty. Raises InvalidRequest."""
    value = members.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise InvalidRequest(f"member '{name}' must be a list of strings with at least one", param=name)
    return tuple(value)


def others(members: Mapping[str, object], known: Collection[str]) -> tuple[str, ...]:
    """The names of the members that are not `known`."""
    return tuple(name for name in members if name not in known)
