"""Ids of tool calls, for a provider that wants each to be its own and of few kinds of characters.

Clients use ids again: in a later turn, and for two calls of one turn. Facts (Anthropic API reference,
Amazon Bedrock API reference): ids are of `[a-zA-Z0-9_-]`, Bedrock's of at most 64.
"""

from __future__ import annotations

import re

_not_in_ids = re.compile(r"[^A-Za-z0-9_-]")
_UNCAPPED = 1 << 30


class CallIds:
    """The ids of one conversation as they are written. longest: of what is written, in characters."""

    __slots__ = ("_answered", "_ids", "_longest", "_used")

    def __init__(self, longest: int = _UNCAPPED) -> None:
        self._longest = longest
        self._ids: dict[str, list[str]] = {}
        self._used: set[str] = set()
        self._answered: set[str] = set()

    def new(self, call_id: str) -> str:
        """The id to write of a call. One that was used is another call's."""
        clean = free = _not_in_ids.sub("_", call_id)[: self._longest] or "call"
        number = 1
        while free in self._used:
            number += 1
            end = f"_{number}"
            free = clean[: self._longest - len(end)] + end
        self._used.add(free)
        waiting = [known for known in self._ids.get(call_id, ()) if known not in self._answered]
        self._ids[call_id] = [*waiting, free]
        return free

    def answered(self, call_id: str) -> str | None:
        """The call whose result this is, or None. Calls that came with one id are answered in their order."""
        ids = self._ids.get(call_id)
        if ids is None:
            return None
        found = next((known for known in ids if known not in self._answered), ids[-1])
        self._answered.add(found)
        return found
