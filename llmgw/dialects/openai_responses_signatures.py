"""What proves a thought, carried through dialects that have one word for it.

A reasoning item of the responses API is proved by its `id` together with its
`encrypted_content`. Elsewhere a thought has one signature, so the two are packed into one:
base64 of a mark, the id and the content (`pack`). A client of the responses API, in turn, is
given the signatures of other providers in `encrypted_content` behind a mark (`wrap`), and the
signature of a tool call in a reasoning item of its own, since a call has no room for it.

Both marks are told from any provider's own tokens, so a signature is never shown to a provider
that did not make it.
"""

from __future__ import annotations

import base64
import binascii

import msgspec
from msgspec import Struct

_PACKED = "cnMA"  # base64 of the mark
_MARK = b"rs\0"
_WRAPPED = "llmgw:"

SIGNED, REDACTED, CALL = "s", "r", "c"
"""Kinds of what is wrapped: a thought's signature, an encrypted thought, a call's signature."""


class Wrapped(Struct, frozen=True, array_like=True):
    """kind: one of the kinds above. call_id: of the call that a `CALL` signature belongs to."""

    kind: str
    value: str
    call_id: str = ""


_decode = msgspec.json.Decoder(Wrapped).decode


def pack(item_id: str, encrypted: str) -> str:
    """One signature for a reasoning item."""
    return base64.b64encode(_MARK + item_id.encode() + b"\0" + encrypted.encode()).decode()


def unpack(signature: str | None) -> tuple[str, str] | None:
    """The id and the encrypted content of a reasoning item; None for another provider's signature."""
    if signature is None or not signature.startswith(_PACKED):
        return None
    try:
        _, item_id, encrypted = base64.b64decode(signature, validate=True).split(b"\0", 2)
        return item_id.decode(), encrypted.decode()
    except (binascii.Error, ValueError):
        return None


def wrap(kind: str, value: str, call_id: str = "") -> str:
    """Another provider's signature as `encrypted_content`."""
    return _WRAPPED + msgspec.json.encode(Wrapped(kind, value, call_id)).decode()


def unwrap(encrypted: str | None) -> Wrapped | None:
    """What `wrap` made; None for a provider's own content."""
    if encrypted is None or not encrypted.startswith(_WRAPPED):
        return None
    try:
        return _decode(encrypted[len(_WRAPPED) :])
    except msgspec.MsgspecError:
        return None
