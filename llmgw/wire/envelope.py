"""A JSON object seen one level deep, whose members can be spliced without re-encoding.

A request of the client's own dialect goes upstream as the bytes it came as, but for the few
top-level members that must change. One pass of the C codec checks the whole document and gives
each top-level value as a slice; where the members stand follows from their lengths, so nothing
is scanned in Python.

Refused, because two readers could disagree about it: a top-level member that appears twice,
bytes that are not UTF-8, lone surrogates, numbers without a finite value, more than
`MAX_MEMBERS` members, nesting deeper than the codec's limit (just under 1,000).

A well-formed number inside a nested value is not looked at: it goes on as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw

MAX_MEMBERS = 1000
_MAX_NUMBER_LENGTH = 400
_SAFE_NUMBER_LENGTH = 4  # too short for an exponent that overflows

_object = msgspec.json.Decoder(dict[str, Raw]).decode
_value = msgspec.json.Decoder().decode
_string = msgspec.json.Decoder(str).decode
_key = re.compile(rb'[ \t\r\n]*("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*')
_separator = re.compile(rb"[ \t\r\n]*([,}])")
_open_brace = re.compile(rb"[ \t\r\n]*\{")
_FIRST_OF_NUMBER = frozenset(b"-0123456789")


class EnvelopeError(ValueError):
    """The body is not a JSON object that can be passed on. The message is for the caller.

    member: the top-level member it is about, if it is about one.
    """

    def __init__(self, message: str, member: str | None = None) -> None:
        super().__init__(message)
        self.member = member


class Envelope:
    """A JSON object: its bytes, and the bytes of each top-level value.

    raw: the body as it came.
    members: name to value bytes, in order.
    """

    __slots__ = ("_spans", "members", "raw")

    def __init__(self, raw: bytes) -> None:
        """Read `raw`. Raises EnvelopeError, saying what is wrong in the caller's terms."""
        try:
            members = _object(raw)
            if not raw.isascii():
                raw.decode()
        except RecursionError:
            raise EnvelopeError("the body is nested too deeply") from None
        except UnicodeDecodeError:
            raise EnvelopeError("the body is not valid UTF-8") from None
        except msgspec.ValidationError:
            raise EnvelopeError("the body must be a JSON object") from None
        except msgspec.DecodeError as error:
            raise EnvelopeError(f"the body is not valid JSON: {_reason(error)}") from None
        if len(members) > MAX_MEMBERS:
            raise EnvelopeError(f"the body has more than {MAX_MEMBERS} members")
        self.raw = raw
        self.members: dict[str, bytes] = members  # type: ignore[assignment]
        # Without white space every member takes its name, its value, two quotes, a colon and a
        # comma. A repeated or escaped name makes the body longer than that, never equal to it.
        size = 1 + 4 * len(members)
        for name, value in members.items():
            view = memoryview(value)
            size += len(name) + len(view)
            if len(view) > _SAFE_NUMBER_LENGTH and view[0] in _FIRST_OF_NUMBER:
                _check_number(name, view)
        self._spans: dict[str, tuple[int, int, int]] | None = None
        if size != len(raw) or not members:
            self._spans = _walk(raw, members)

    def value(self, name: str) -> object:
        """The decoded value of a top-level member, or None when it is absent.

        Raises EnvelopeError when a number in it has no finite value.
        """
        raw = self.members.get(name)
        if raw is None:
            return None
        try:
            return _value(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise EnvelopeError(f"member '{name}' cannot be read", name) from None

    def text(self, name: str) -> str | None:
        """A member that must be a string; None when it is absent."""
        raw = self.members.get(name)
        if raw is None:
            return None
        try:
            return _string(raw)
        except msgspec.MsgspecError:
            raise EnvelopeError(f"member '{name}' must be a string", name) from None

    def flag(self, name: str) -> bool:
        """A member that must be true, false or null; False when it is absent."""
        raw = self.members.get(name)
        if raw is None:
            return False
        value = bytes(raw)
        if value == b"true":
            return True
        if value == b"false" or value == b"null":
            return False
        raise EnvelopeError(f"member '{name}' must be a boolean", name)

    def spliced(self, edits: Mapping[str, bytes]) -> bytes:
        """The body with some top-level members set to new JSON values.

        Returns `raw` itself when `edits` is empty. A member that is absent is appended. Other
        members keep their bytes, their order and any field we have never heard of.
        """
        if not edits:
            return self.raw
        spans = self._spans
        if spans is None:
            spans = self._spans = _compact_spans(self.members)
        raw = self.raw
        pieces: list[bytes] = []
        at = 0
        added: list[bytes] = []
        for _, name, value in sorted((spans[n][1] if n in spans else -1, n, v) for n, v in edits.items()):
            span = spans.get(name)
            if span is None:
                added.append(msgspec.json.encode(name) + b":" + value)
                continue
            pieces.append(raw[at : span[1]])
            pieces.append(value)
            at = span[2]
        if added:
            # The last brace of the document closes it: only white space can follow.
            end = raw.rindex(b"}")
            pieces.append(raw[at:end])
            if spans:
                pieces.append(b",")
            pieces.append(b",".join(added))
            at = end
        pieces.append(raw[at:])
        return b"".join(pieces)


def _compact_spans(members: Mapping[str, bytes]) -> dict[str, tuple[int, int, int]]:
    """Where each member stands in a body without white space: start, value start, value end."""
    spans = {}
    at = 1
    for name, value in members.items():
        begin = at + len(name) + 3
        end = begin + len(memoryview(value))
        spans[name] = (at, begin, end)
        at = end + 1
    return spans


def _walk(raw: bytes, members: Mapping[str, bytes]) -> dict[str, tuple[int, int, int]]:
    """Where each member stands, by jumping from value to value.

    The codec keeps the last value of a repeated name in the place of the first. So a repeated
    name shows as a value that is not where it should be, or as a name out of turn.
    """
    spans = {}
    match = _open_brace.match(raw)
    at = match.end() if match else 0
    for name, value in members.items():
        key = _key.match(raw, at)
        if key is None or _string(key[1]) != name:
            raise EnvelopeError(f"the body has a member twice: {_name(key)}")
        begin = key.end()
        end = begin + len(memoryview(value))
        after = _separator.match(raw, end)
        if after is None or not raw.startswith(memoryview(value), begin):
            raise EnvelopeError(f"the body has a member twice: '{name}'")
        spans[name] = (at, begin, end)
        at = after.end()
    if members and raw[at - 1 : at] != b"}":
        raise EnvelopeError(f"the body has a member twice: {_name(_key.match(raw, at))}")
    return spans


def _name(key: re.Match[bytes] | None) -> str:
    return f"'{_string(key[1])[:64]}'" if key else "its name is not readable"


def _check_number(name: str, view: memoryview) -> None:
    if len(view) > _MAX_NUMBER_LENGTH:
        raise EnvelopeError(f"member '{name}' is not a usable number", name)
    number = float(bytes(view))
    if number - number != 0.0:
        raise EnvelopeError(f"member '{name}' is not a finite number", name)


def _reason(error: msgspec.DecodeError) -> str:
    text = str(error)
    return text.removeprefix("JSON is malformed: ").lower()
