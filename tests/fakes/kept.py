"""Answers of an upstream, and stores that are not as they should be, for tests of what is kept."""

from __future__ import annotations

from typing import Any

from llmgw.ports.cache import CacheKey, Found, Kept
from llmgw.stores.cache_entry import sealed, unsealed
from tests.fakes.raw_client import Answer
from tests.fakes.upstream import end, event, sse_head

EXACT = "limits: {per_user: {requests: 100k}, per_tenant: {requests: 100k}}\ncache: {mode: exact}\n"


def completion(text: str = "Hello", finish: str | None = "stop", **message: object) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def said(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


STREAM = (sse_head(), event(said("Hel")), event(said("lo")), event(said("", "stop")), event("[DONE]"), end())


def words(answer: Answer) -> str | None:
    return answer.headers.get("x-llmgw-cache")


class Broken:
    """A store that damages every entry. Implements `ports.cache.CacheStore`."""

    def __init__(self, damage: Any) -> None:
        self.discarded = 0
        self.failed = 0
        self.size_bytes = 0
        self.secret: bytes | None = b"s" * 32
        self._damage = damage
        self._entries: dict[CacheKey, bytes] = {}

    def get(self, key: CacheKey, found: Found) -> None:
        entry = self._entries.get(key)
        opened = unsealed(b"s" * 32, key, self._damage(entry)) if entry is not None else None
        found(Kept(opened[0], 0.0) if opened is not None else None)

    def put(self, key: CacheKey, value: bytes, ttl_s: float) -> None:
        self._entries[key] = sealed(b"s" * 32, key, value, 0.0, 1e9)

    def forget(self, tenants: frozenset[str]) -> None:
        self._entries.clear()

    def close(self) -> None:
        pass


class Noise(Broken):
    """Entries that are sealed well and hold another program's bytes."""

    def get(self, key: CacheKey, found: Found) -> None:
        found(Kept(b"LR\x63junk", 0.0))


class Away(Broken):
    """A store that is not there."""

    def __init__(self) -> None:
        super().__init__(None)
        self.secret = None

    def get(self, key: CacheKey, found: Found) -> None:
        found(None)


class Seen(Broken):
    """Remembers every byte it was given."""

    def __init__(self) -> None:
        super().__init__(lambda entry: entry)
        self.bytes = b""

    def put(self, key: CacheKey, value: bytes, ttl_s: float) -> None:
        self.bytes += repr(key).encode() + value
        super().put(key, value, ttl_s)
