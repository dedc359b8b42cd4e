"""Requests with idempotency keys, and what an upstream answers to them."""

from __future__ import annotations

from typing import Any

from llmgw.policies.idempotency import Names
from tests.fakes.gateway import RunningGateway
from tests.fakes.upstream import end, event, sse_head

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
REPLAYED = "idempotent-replayed"


def whole(text: str = "hello", prompt: int = 10, completion: int = 5) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage}


def piece(text: str | None, finish: str | None = None) -> dict[str, Any]:
    delta = {"content": text} if text is not None else {}
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


USED = {
    "id": "chatcmpl-1",
    "choices": [],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}
STREAM = (sse_head(), event(piece("Hel")), event(piece("lo")), event(piece(None, "stop")), event(USED))
DONE = (event("[DONE]"), end())


def keyed(key: str = KEY, **more: str) -> dict[str, str]:
    return {"idempotency-key": key, **more}


class Events:
    """What was told, and the names that it was told about."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.told: list[tuple[str, str, dict[str, object]]] = []
        self.names: Names = gateway._resources.names
        self.names.tell = lambda level, name, fields: self.told.append((level, name, fields))

    def ids(self, number: int) -> list[str]:
        """Levels at which an event was told."""
        return [level for level, _, fields in self.told if fields.get("event_id") == number]
