"""JSON lines that nothing in a field can break out of, or grow without bound.

Promise: one event is one line of printable ASCII. Control characters, ANSI escapes, DEL and
the Unicode line separators are `\\u` escapes; a field is cut at 8 KiB; what looks like a
credential is shown as its last four characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from json.encoder import JSONEncoder

MAX_FIELD = 8192
_CUT = "...[cut]"

_dumps = JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

_SECRETS = re.compile(
    r"(?P<before>\b(?:[Bb]earer|[Bb]asic)\s+(?=[^\s\"']{12})|[?&](?:api[-_]?key|key|token|access_token)="
    r"|://[^/\s:@]{0,256}:(?=[^\s/@]{1,256}@))"
    r"(?P<secret>[^\s&\"'@]+)"
    r"|\b(?P<kind>sk-|gsk_|xai-|hf_|AIza|AKIA|llmgw_(?=[a-z2-7]{16}_))(?P<key>[-_A-Za-z0-9]{12,})"
)


def suspicious(text: str) -> bool:
    """Whether something in `text` looks like a credential."""
    return _SECRETS.search(text) is not None


def mask(text: str) -> str:
    """`text` with what looks like a credential shown as its last four characters."""
    return _SECRETS.sub(_masked, text)


def cap(text: str) -> str:
    """`text`, cut when it is longer than a field may be."""
    return text if len(text) <= MAX_FIELD else text[: MAX_FIELD - len(_CUT)] + _CUT


def render_line(fields: Mapping[str, object]) -> bytes:
    """One event as a JSON line, ended by LF.

    Strings are masked and cut, other values written by their `str` when JSON has no form for
    them. Several microseconds: the road has its own quick way for the usual line.
    """
    line = _dumps({name: clean(value) for name, value in fields.items()})
    # DEL is the one control character that JSON writes as it is.
    return line.replace("\x7f", "\\u007f").encode("ascii") + b"\n"


def clean(value: object) -> object:
    """A field's value, safe to write."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)) and len(str(value)) <= MAX_FIELD:
        return [clean(inner) for inner in value]
    # Cut first: masking a huge text would cost more than writing it.
    return mask(cap(value if isinstance(value, str) else str(value)))


def _masked(found: re.Match[str]) -> str:
    if found["key"] is not None:
        return f"{found['kind']}…{found['key'][-4:]}"
    secret = found["secret"]
    return f"{found['before']}…{secret[-4:] if len(secret) >= 12 else ''}"
