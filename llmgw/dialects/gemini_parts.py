"""Parts of a turn, between ours and Gemini's, for requests and answers alike.

A signature can stand on any part of Gemini's. On a call or a thought it stays there; on another part
it is ours as an empty `Thinking` right after it, and goes back to that part when written.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw

from llmgw.core.chat import Audio, File, Image, Part, Refusal, Text, Thinking, ToolCall, ToolResult

decode_object = msgspec.json.Decoder(dict[str, Raw]).decode

_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "mp4": "video/mp4",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
}
"""Media types by the ending of a URL's path, for URLs that come without one."""

_STANDARD = str.maketrans("-_", "+/")
SKIP_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the signature of a call that Gemini did not make (Gemini API: thought signatures)."""

Wire = dict[str, object]


def arguments_object(arguments: str) -> Raw:
    """The arguments of a call as they came. Raises ValueError unless they are a JSON object or nothing."""
    if not arguments:
        return Raw(b"{}")
    data = arguments.encode()
    try:
        decode_object(data)
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("not a JSON object") from None
    return Raw(data)


def inline_media(media_type: str | None, data: str) -> Image | Audio | File:
    """Bytes by their kind. data: base64 of either alphabet: Google's SDKs send the one for URLs, which
    nobody else reads."""
    data = data.translate(_STANDARD)
    data += "=" * (-len(data) % 4)
    kind = media_type or ""
    if kind.startswith("image/"):
        return Image(media_type=media_type, data=data)
    if kind.startswith("audio/"):
        return Audio(kind, data)
    return File(media_type=media_type, data=data)


def linked_media(media_type: str | None, url: str) -> Image | File:
    """What a URL leads to, by the type that was told, else by the URL's ending."""
    kind = media_type or guessed_type(url)
    if kind is not None and kind.startswith("image/"):
        return Image(media_type=kind, url=url)
    return File(media_type=kind, url=url)


def guessed_type(url: str) -> str | None:
    path = url.partition("?")[0].partition("#")[0]
    return _TYPES.get(path.rpartition(".")[2].lower())


def media_part(part: Image | File | Audio) -> Wire:
    """A part that carries bytes, or leads to them."""
    if isinstance(part, File) and part.text is not None:
        text = base64.b64encode(part.text.encode()).decode()
        return {"inlineData": {"mimeType": part.media_type or "text/plain", "data": text}}
    if isinstance(part, Audio) or part.data is not None:
        blob = {"data": part.data}
        if part.media_type:
            blob = {"mimeType": part.media_type, **blob}
        return {"inlineData": blob}
    link = {"fileUri": part.url}
    kind = part.media_type or guessed_type(part.url or "")
    if kind:
        link = {"mimeType": kind, **link}
    return {"fileData": link}


def render_parts(
    parts: Iterable[Part],
    other: Callable[[ToolCall | ToolResult], Iterable[Wire]],
    proof: Callable[[str | None], str | None],
) -> list[Wire]:
    """Gemini's parts. other: what writes calls and results, which differ between turns.

    proof: what makes a `thoughtSignature` of a thought's, for whom it is written.

    Thoughts that only another provider can read have no place and are left out.
    """
    out: list[Wire] = []
    for part in parts:
        if isinstance(part, (Text, Refusal)):
            if part.text:
                out.append({"text": part.text})
        elif isinstance(part, Thinking):
            _render_thinking(part, out, proof)
        elif isinstance(part, (Image, File, Audio)):
            out.append(media_part(part))
        else:
            out.extend(other(part))
    return out


def _render_thinking(part: Thinking, out: list[Wire], proof: Callable[[str | None], str | None]) -> None:
    # What another provider encrypted, it also signed.
    signature = proof(part.signature) if part.redacted is None else None
    if part.text:
        wire: Wire = {"text": part.text, "thought": True}
        if signature is not None:
            wire["thoughtSignature"] = signature
        out.append(wire)
    elif signature is not None:
        if out and not out[-1].keys() & {"thought", "thoughtSignature", "functionCall", "functionResponse"}:
            out[-1]["thoughtSignature"] = signature
        else:
            out.append({"text": "", "thoughtSignature": signature})
