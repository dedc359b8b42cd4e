"""What keeps requests at one target: whose they are, or of which conversation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from llmgw.core.exchange import Exchange
from llmgw.wire.envelope import EnvelopeError

_TURNS = ("messages", "contents", "input")


def by_user(ex: Exchange) -> str | None:
    """The user, else the key, else the address."""
    principal = ex.principal
    if principal is None:
        return ex.peer
    return f"{principal.tenant}/{principal.user or principal.key_id or ex.peer}"


def by_header(name: str) -> Callable[[Exchange], str | None]:
    """The value of a header; requests without it are not kept anywhere."""
    field = name.encode()

    def value(ex: Exchange) -> str | None:
        found = ex.fields.get(field)
        return None if found is None else found.decode("latin-1")

    return value


def by_conversation(ex: Exchange) -> str | None:
    """The caller and the first turn that is the user's, which a conversation keeps as it grows."""
    if ex.envelope is None:
        return None
    for member in _TURNS:
        try:
            turns = ex.envelope.value(member)
        except EnvelopeError:
            return None
        if isinstance(turns, list):
            first = next(
                (turn for turn in turns if isinstance(turn, dict) and turn.get("role", "user") == "user"),
                None,
            )
            if first is not None:
                mark = hashlib.blake2b(repr(first).encode(), digest_size=16).hexdigest()
                return f"{by_user(ex)}/{mark}"
    return None
