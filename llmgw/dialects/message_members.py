"""Members of a request's messages that no field is read from, so that their loss can be told."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

_NOTHING = frozenset({b"null", b"[]", b"{}", b'""', b"false"})


class _Messages(Struct):
    messages: list[dict[str, Raw]] | None = None


_decode_all = msgspec.json.Decoder(_Messages).decode


class MessageMembers:
    """known: those that are read. Most requests have no others, which one pass without objects tells."""

    __slots__ = ("_decode_known", "_known")

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        message = msgspec.defstruct(
            "KnownMessage", [(name, Raw, Raw()) for name in sorted(self._known)], forbid_unknown_fields=True
        )
        request = msgspec.defstruct("KnownMessages", [("messages", list[message] | None, None)])  # type: ignore[valid-type]
        self._decode_known = msgspec.json.Decoder(request).decode

    def unknown(self, body: bytes) -> dict[str, str]:
        """Of each name the first, as JSON text, by names for `extra`. body: of a request that was decoded."""
        try:
            self._decode_known(body)
        except msgspec.ValidationError:
            return self._found(body)
        return {}

    def _found(self, body: bytes) -> dict[str, str]:
        found: dict[str, str] = {}
        for message in _decode_all(body).messages or ():
            for name, value in message.items():
                if name not in self._known and bytes(value) not in _NOTHING:
                    found.setdefault(f"messages[].{name}", bytes(value).decode())
        return found
