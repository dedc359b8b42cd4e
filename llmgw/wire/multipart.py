"""A multipart/form-data body, whose files are never copied or looked into.

Uploads name their model in a form field. The gateway must read that field, may have to change
it, and sends everything else on as it came. So the parts are kept as spans of the body.

A caller who could make us and the upstream see different fields could use a model they are not
allowed. So only the form that every client writes is taken (RFC 7578, RFC 2046 5.1.1): CRLF line
ends, nothing before the first boundary or after the last, the boundary nowhere else, no folded
headers, no extended (`name*=`) field names, no transfer encodings, no field `model` twice.

Promise: linear in the body, whatever the boundary; all refusals are ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_BOUNDARY_LENGTH = 70
MAX_PART_HEADER_BYTES = 8 * 1024
_MAX_CONTENT_TYPE_LENGTH = 1024

_boundary = re.compile(r"[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-]")
_parameter = re.compile(r"[ \t]*;[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\";]*))")
_header = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\x00]*)")
_PLAIN_ENCODINGS = frozenset({"7bit", "8bit", "binary"})
_TEXT_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form: `body[start:end]` is its content.

    filename: None for a simple field; a file without a name has "".
    """

    name: str
    filename: str | None
    content_type: str | None
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


class Form:
    """A form: its body as it came, and where its parts are."""

    __slots__ = ("_delimiter", "parts", "raw")

    def __init__(self, raw: bytes, delimiter: bytes, parts: tuple[Part, ...]) -> None:
        self.raw = raw
        self.parts = parts
        self._delimiter = delimiter

    @property
    def files(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.filename is not None)

    def field(self, name: str) -> str | None:
        """The value of a simple field; None when it is absent.

        Raises ValueError when it occurs twice, is a file or is not UTF-8.
        """
        part = self._simple(name)
        if part is None:
            return None
        try:
            return self.raw[part.start : part.end].decode()
        except UnicodeDecodeError:
            raise ValueError(f"form field '{name}' is not valid UTF-8") from None

    def spliced(self, edits: Mapping[str, str]) -> bytes:
        """The body with the values of some simple fields replaced.

        Returns `raw` itself when `edits` is empty. Raises ValueError when a field is absent, or
        when its new value would end the part.
        """
        if not edits:
            return self.raw
        changes = []
        for name, value in edits.items():
            part = self._simple(name)
            if part is None:
                raise ValueError(f"form field '{name}' is absent")
            encoded = value.encode()
            if self._delimiter in encoded:
                raise ValueError(f"form field '{name}' cannot hold the boundary")
            changes.append((part.start, part.end, encoded))
        view = memoryview(self.raw)
        pieces: list[bytes | memoryview] = []
        at = 0
        for start, end, encoded in sorted(changes):
            pieces += (view[at:start], encoded)
            at = end
        pieces.append(view[at:])
        return b"".join(pieces)

    def _simple(self, name: str) -> Part | None:
        found = None
        for part in self.parts:
            if part.name == name:
                if found is not None:
                    raise ValueError(f"form field '{name}' occurs twice")
                found = part
        if found is not None and found.filename is not None:
            raise ValueError(f"form field '{name}' must not be a file")
        return found


def parse_form(body: bytes, content_type: str, *, max_parts: int = 100) -> Form:
    """Find the parts of a multipart/form-data body.

    content_type: the request's header, which names the boundary.
    Raises ValueError, in the caller's terms, for whatever two readers could see differently.
    """
    delimiter = b"--" + parse_boundary(content_type)
    if body.startswith(delimiter):
        at = len(delimiter)
    elif body.startswith(b"\r\n" + delimiter):
        at = len(delimiter) + 2
    else:
        raise ValueError("the form does not begin with its boundary")
    separator = b"\r\n" + delimiter
    parts: list[Part] = []
    while body[at : at + 2] != b"--":
        if body[at : at + 2] != b"\r\n":
            raise ValueError("a boundary of the form is followed by something else")
        if len(parts) == max_parts:
            raise ValueError(f"the form has more than {max_parts} parts")
        begin = at + 2
        start = body.find(b"\r\n\r\n", begin, begin + MAX_PART_HEADER_BYTES) + 4
        if start == 3:
            raise ValueError("a part of the form has no end of its headers, or too many of them")
        # An empty part's boundary shares its line end with nothing: the search starts at `start`.
        end = body.find(separator, start)
        if end < 0:
            raise ValueError("the form has no last boundary")
        parts.append(_parse_part(body[begin : start - 4], start, end))
        at = end + len(separator)
    if body[at + 2 :] not in (b"", b"\r\n"):
        raise ValueError("the form goes on after its last boundary")
    # A reader that takes a bare LF for a line end would see these as boundaries.
    if body.count(delimiter) != len(parts) + 1:
        raise ValueError("the form's boundary occurs inside a part")
    if sum(part.name == "model" for part in parts) > 1:
        raise ValueError("form field 'model' occurs twice")
    return Form(body, delimiter, tuple(parts))


def parse_boundary(content_type: str) -> bytes:
    """The boundary that a multipart/form-data content type names. Raises ValueError."""
    if len(content_type) > _MAX_CONTENT_TYPE_LENGTH:
        raise ValueError("the content type is too long")
    kind, parameters = _parse_value(content_type, "the content type")
    if kind != "multipart/form-data":
        raise ValueError("the content type is not multipart/form-data")
    boundary = parameters.get("boundary", "")
    if len(boundary) > MAX_BOUNDARY_LENGTH:
        raise ValueError(f"the boundary is longer than {MAX_BOUNDARY_LENGTH} characters")
    if not _boundary.fullmatch(boundary):
        raise ValueError("the content type has no usable boundary")
    return boundary.encode()


def _parse_part(block: bytes, start: int, end: int) -> Part:
    headers: dict[str, str] = {}
    for line in block.split(b"\r\n"):
        match = _header.fullmatch(line)
        if match is None:
            raise ValueError("a part of the form has a malformed header")
        name = match[1].decode().lower()
        if name in headers:
            raise ValueError("a part of the form has a header twice")
        try:
            headers[name] = match[2].decode()
        except UnicodeDecodeError:
            raise ValueError("a header of the form is not valid UTF-8") from None
    kind, parameters = _parse_value(headers.get("content-disposition", ""), "a part's content disposition")
    name = parameters.get("name", "")
    if kind != "form-data" or not name or "name*" in parameters:
        raise ValueError("a part of the form has no name")
    if name != name.strip() or "\\" in name or not name.isprintable():
        raise ValueError("a part of the form has an unusable name")
    if headers.get("content-transfer-encoding", "binary").strip().lower() not in _PLAIN_ENCODINGS:
        raise ValueError("a part of the form has a transfer encoding")
    filename = parameters.get("filename", parameters.get("filename*"))
    content_type = headers.get("content-type")
    if filename is None and content_type is not None:
        _, details = _parse_value(content_type, "a part's content type")
        if details.get("charset", "utf-8").lower() not in _TEXT_CHARSETS:
            raise ValueError("a field of the form is not UTF-8")
    return Part(name, filename, content_type, start, end)


def _parse_value(text: str, what: str) -> tuple[str, dict[str, str]]:
    """The lower-cased first word of a header and its parameters, by lower-cased name."""
    kind, semicolon, _ = text.partition(";")
    parameters: dict[str, str] = {}
    at = len(kind)
    while semicolon and at < len(text):
        match = _parameter.match(text, at)
        if match is None:
            if text[at:].strip(" \t;"):
                raise ValueError(f"{what} is malformed")
            break
        name = match[1].lower()
        if name in parameters:
            raise ValueError(f"{what} has a parameter twice")
        parameters[name] = match[3] if match[2] is None else match[2]
        at = match.end()
    return kind.strip().lower(), parameters
