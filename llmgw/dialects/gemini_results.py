"""A tool's result, between ours and Gemini's `functionResponse`.

`response` is a JSON object: `output` holds the result, `error` what went wrong, and without either
the whole object is the result (Gemini API reference: FunctionResponse). So a result that is a JSON
object is written as it is, and other text as `output`.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from llmgw.core.chat import File, Image, Text
from llmgw.dialects.gemini_parts import Wire, decode_object, media_part

_string = msgspec.json.Decoder(str).decode


def parse_response(response: Raw | None) -> tuple[tuple[Text, ...], bool]:
    """A result's text, and whether the tool failed. Raises ValueError when it is not an object."""
    if response is None:
        return (), False
    members = _object(bytes(response))
    if members is None:
        raise ValueError("not a JSON object")
    if not members:
        return (), False
    if len(members) == 1:
        for name, failed in (("output", False), ("error", True)):
            value = members.get(name)
            if value is None:
                continue
            text = _text(value)
            if text is not None:
                return (Text(text),), failed
            if failed and _object(bytes(value)) is not None:
                return (Text(bytes(value).decode()),), True
    return (Text(bytes(response).decode()),), False


def render_response(texts: list[str], failed: bool) -> Wire | Raw:
    """The object that says the same."""
    if not texts:
        return {"error": ""} if failed else {}
    text = "\n".join(texts)
    data = text.encode()
    members = _object(data)
    if failed:
        return {"error": text if members is None else Raw(data)}
    if not members or (len(members) == 1 and members.keys() & {"output", "error"}):
        return {"output": text}
    return Raw(data)


def media_parts(parts: tuple[Text | Image | File, ...]) -> list[Wire]:
    """The images and files of a result."""
    return [media_part(part) for part in parts if not isinstance(part, Text)]


def _object(data: bytes) -> dict[str, Raw] | None:
    if not (data.startswith(b"{") and data.endswith(b"}")):
        return None
    try:
        return decode_object(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _text(value: Raw) -> str | None:
    try:
        return _string(value)
    except msgspec.MsgspecError:
        return None
