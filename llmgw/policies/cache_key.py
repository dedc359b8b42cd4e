"""What makes two requests the same: everything that can change their answer.

A key is an HMAC over parts that each begin with their length, so that no part can be taken for two,
nor its end for the beginning of the next. The tenant comes first and cannot be left out.

In it: tenant, and the user or key where answers are not shared; the endpoint; whether it streams;
the model's public name; what the configuration does with such requests; header fields that go on
to a provider or choose how a client is spoken to; every member of the body but `model`, `user`
and `metadata` among them.
Not in it: the query, credentials, addresses, and what only says how long to wait.

The order of names and the white space of JSON make no difference; the spelling of a number does,
as two readers may read it differently. A body with a name twice in an object is taken as it is, to
the byte, as is a member of more than `CANONICAL_BYTES`, or of more than a part of that if it is
not as compact as JSON can be.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable

import msgspec

from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.dialects.endpoints import GEMINI
from llmgw.ports.cache import CacheKey

CANONICAL_BYTES = 256 * 1024
_HEADERS = (b"anthropic-beta", b"anthropic-version", b"openai-beta")
_SPACED_BYTES = 32 * 1024
_VERSION = b"1"
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')


class _Number:
    """A fraction, an exponent or a number of many digits, as it is written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _spelled(number: object) -> object:
    assert isinstance(number, _Number)
    return msgspec.Raw(number.text.encode())


_decode = msgspec.json.Decoder(float_hook=_Number).decode
_encode = msgspec.json.Encoder(order="sorted", enc_hook=_spelled).encode


def scope_of(principal: Principal, scope: str) -> tuple[bytes, ...] | None:
    """Who shares answers with a caller; None when nobody can, as it is not known who it is.

    scope: `tenant`, `user` or `key`. Without a user, a key stands for one.
    """
    tenant = principal.tenant.encode()
    if scope == "tenant":
        return tenant, b"tenant"
    if scope == "user" and principal.user is not None:
        return tenant, b"user", principal.user.encode("utf-8", "surrogatepass")
    if principal.key_id is not None:
        return tenant, b"key", principal.key_id.encode("utf-8", "surrogatepass")
    return None


def cache_key(
    secret: bytes, principal: Principal, scope: tuple[bytes, ...], material: Iterable[bytes]
) -> CacheKey:
    """The key of an answer. scope: as `scope_of` has it. material: as `material_of` has it."""
    parts = [principal.tenant.encode(), *scope, *material]
    counts = b"%d,%d" % (len(scope), len(parts))
    message = b"".join([len(part).to_bytes(8, "big") + part for part in (_VERSION, counts, *parts)])
    return CacheKey(principal.tenant, hmac.digest(secret, message, "sha256"))


def material_of(
    ex: Exchange, fingerprint: bytes, headers: Iterable[bytes], *, reads_otherwise: bool
) -> list[bytes]:
    """All of a request that can change its answer, but whose it is.

    fingerprint: of what the configuration does with it. headers: names of those that go on to a
    provider. reads_otherwise: the client is not spoken to as others are at this endpoint.
    """
    fields = ex.fields
    said = [name + b":" + fields[name] for name in sorted({*_HEADERS, *headers}) if name in fields]
    return [
        ex.endpoint.path.encode(),
        ex.endpoint.operation_name.encode(),
        b"stream" if ex.streamed else b"whole",
        b"otherwise" if reads_otherwise else b"",
        (ex.model or "").encode("utf-8", "surrogatepass"),
        b"" if ex.clamp is None else b"%d" % ex.clamp,
        fingerprint,
        b"%d" % len(said),
        *said,
        *_body(ex),
    ]


def canonical(raw: bytes) -> bytes | None:
    """The same for every order of names and every white space.

    None where a name stands twice in an object, for what cannot be read to its depth, and where
    finding that out would take long.
    """
    try:
        text = _encode(_decode(raw))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    # What is written again is never longer; as long only when nothing was left out.
    if len(text) == len(raw) or (len(raw) <= _SPACED_BYTES and _names(text) == _names(raw)):
        return text
    return None


def _names(raw: bytes) -> int:
    """How many names its objects have."""
    return _TEXT.sub(b"", raw).count(b":")


def _body(ex: Exchange) -> list[bytes]:
    """The body's members in the order of their names."""
    assert ex.envelope is not None
    named = b"model" if ex.endpoint.dialect != GEMINI else b""
    parts: list[bytes] = []
    for name, value in sorted(ex.envelope.members.items()):
        member = name.encode("utf-8", "surrogatepass")
        if member == named:
            continue
        raw = bytes(value)
        same = canonical(raw) if len(raw) <= CANONICAL_BYTES else None
        parts += (member, b"raw", raw) if same is None else (member, b"json", same)
    return parts
