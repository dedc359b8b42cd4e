"""Members of a Gemini request, read by either spelling.

Google's services read JSON as protocol buffers do: a member may be written `topK` or `top_k`, null
is the same as absent, and a whole number may be written as 50.0. Names that the caller chose
(arguments, labels, a schema's properties) are inside values that stay as they came.
"""

from __future__ import annotations

from typing import NoReturn

import msgspec
from msgspec import Raw

from llmgw.core.errors import InvalidRequest
from llmgw.dialects.gemini_wire import is_null

_object = msgspec.json.Decoder(dict[str, Raw]).decode
_array = msgspec.json.Decoder(list[Raw]).decode
_string = msgspec.json.Decoder(str).decode
_strings = msgspec.json.Decoder(list[str]).decode
_number = msgspec.json.Decoder(int | float).decode
_flag = msgspec.json.Decoder(bool).decode

_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


class Members:
    """A JSON object's members. path: where it stands in the request, as `contents[0].parts[1]`.

    Every reader gives None for a member that is absent, and raises InvalidRequest naming the
    member when it is of another type. What was not taken is told by `left`.
    """

    __slots__ = ("_found", "_left", "path")

    def __init__(self, raw: Raw | bytes, path: str) -> None:
        self.path = path
        try:
            found = _object(raw)
        except _UNREADABLE:
            self._refuse("", "a JSON object")
        self._found = {
            _camel(name) if "_" in name else name: value
            for name, value in found.items()
            if not is_null(value)
        }
        self._left = set(self._found)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def raw(self, name: str) -> Raw | None:
        """A value of any type."""
        self._left.discard(name)
        return self._found.get(name)

    def json(self, name: str) -> str | None:
        """A value as the JSON text it came as."""
        raw = self.raw(name)
        return None if raw is None else bytes(raw).decode()

    def members(self, name: str) -> Members | None:
        raw = self.raw(name)
        return None if raw is None else Members(raw, self.at(name))

    def array(self, name: str) -> list[Raw] | None:
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            return _array(raw)
        except _UNREADABLE:
            self._refuse(name, "an array")

    def strings(self, name: str) -> list[str] | None:
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            return _strings(raw)
        except _UNREADABLE:
            self._refuse(name, "an array of strings")

    def text(self, name: str) -> str | None:
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            return _string(raw)
        except _UNREADABLE:
            self._refuse(name, "a string")

    def flag(self, name: str) -> bool | None:
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            return _flag(raw)
        except _UNREADABLE:
            self._refuse(name, "a boolean")

    def number(self, name: str) -> float | None:
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            value: float = _number(raw)
        except _UNREADABLE:
            self._refuse(name, "a number")
        if value - value != 0:
            self._refuse(name, "a finite number")
        return value

    def whole(self, name: str) -> int | None:
        value = self.number(name)
        if value is not None and value != int(value):
            self._refuse(name, "a whole number")
        return None if value is None else int(value)

    def left(self) -> list[str]:
        """The members that nobody has read, in order."""
        return [name for name in self._found if name in self._left]

    def at(self, name: str) -> str:
        """The path of a member."""
        return f"{self.path}.{name}" if self.path else name

    def _refuse(self, name: str, kind: str) -> NoReturn:
        path = self.at(name) if name else self.path
        subject = f"'{path}'" if path else "the body"
        raise InvalidRequest(f"{subject} must be {kind}", param=path or None)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
