"""Members of a request that no field is read from, so that their loss can be told.

What is read is told by the structs that it is read by, however deep they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import GenericAlias, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

_NOTHING = frozenset({b"null", b"[]", b"{}", b'""', b"false"})
_PLAIN = (str, bool, int, float, type(None))

_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


class _Shape(Struct):
    """What a value may be: an object with members of known shapes, a list of entries of one, or neither."""

    members: dict[str, _Shape] | None = None
    entry: _Shape | None = None


class RequestMembers:
    """shapes: of a request's members that hold others. Most requests have no others than are read, which
    one pass without objects tells.

    passed: names of members that are read nowhere and say nothing to a model, such as `status`.
    empty: names of members that clients send although there is nothing in them.
    """

    __slots__ = ("_decode_known", "_empty", "_passed", "_shapes")

    # Any: the types of a struct's fields are whatever a hint can be.
    def __init__(
        self, shapes: Mapping[str, Any], passed: Iterable[str] = (), empty: Iterable[str] = ()
    ) -> None:
        self._shapes = {name: _shape(shape) for name, shape in shapes.items()}
        self._passed = frozenset(passed)
        self._empty = frozenset(empty)
        fields = [(name, self._strict(shape), None) for name, shape in shapes.items()]
        request = msgspec.defstruct("KnownMembers", fields)
        self._decode_known = msgspec.json.Decoder(request).decode

    def unknown(self, body: bytes) -> dict[str, str]:
        """Of each place the first, as JSON text, by names for `extra` such as `messages[].content[].audio`.

        body: of a request that was decoded.
        """
        try:
            self._decode_known(body)
        except msgspec.ValidationError:
            found: dict[str, str] = {}
            for name, value in _decode_members(body).items():
                if name in self._shapes:
                    self._walk(value, self._shapes[name], name, found)
            return found
        return {}

    def _strict(self, shape: Any) -> Any:
        """The type that refuses members which `shape` passes over, and reads nothing else."""
        struct, entry = _parts(shape)
        kinds: list[Any] = [self._refusing(struct)] if struct is not None else []
        if entry is not None and (strict := self._strict(entry)) is not Raw:
            kinds.append(GenericAlias(list, (strict,)))
        if not kinds:
            return Raw
        return Union[(*kinds, *(kind for kind in _options(shape) if kind in _PLAIN))]

    def _refusing(self, struct: type[Struct]) -> Any:
        read = {field.encode_name: self._strict(field.type) for field in msgspec.structs.fields(struct)}
        none = dict.fromkeys(self._empty, tuple[()] | None)
        known: dict[str, Any] = none | dict.fromkeys(self._passed, Raw) | read
        # Nothing has a default of its own: what is not there has been found missing by now.
        fields = [(name, kind, Raw() if kind is Raw else None) for name, kind in known.items()]
        return msgspec.defstruct(f"Known{struct.__name__}", fields, forbid_unknown_fields=True)

    def _walk(self, raw: Raw, shape: _Shape, at: str, found: dict[str, str]) -> None:
        start = bytes(memoryview(raw)[:1])
        if start == b"[" and shape.entry is not None:
            for inner in _decode_list(raw):
                self._walk(inner, shape.entry, f"{at}[]", found)
        elif start == b"{" and shape.members is not None:
            for name, value in _decode_members(raw).items():
                known = shape.members.get(name)
                if known is not None:
                    if known.members is not None or known.entry is not None:
                        self._walk(value, known, f"{at}.{name}", found)
                elif name not in self._passed and bytes(value) not in _NOTHING:
                    found.setdefault(f"{at}.{name}", bytes(value).decode())


def _shape(kind: Any) -> _Shape:
    struct, entry = _parts(kind)
    members = None
    if struct is not None:
        members = {field.encode_name: _shape(field.type) for field in msgspec.structs.fields(struct)}
    return _Shape(members, _shape(entry) if entry is not None else None)


def _options(shape: Any) -> tuple[Any, ...]:
    """The types that a union is of, or the one type."""
    return get_args(shape) if get_origin(shape) in (Union, UnionType) else (shape,)


def _parts(shape: Any) -> tuple[type[Struct] | None, Any]:
    """The struct and the type of a list's entries that a value may have, None for none."""
    struct = entry = None
    for kind in _options(shape):
        if get_origin(kind) is list:
            (entry,) = get_args(kind)
        elif isinstance(kind, type) and issubclass(kind, Struct):
            struct = kind
    return struct, entry
