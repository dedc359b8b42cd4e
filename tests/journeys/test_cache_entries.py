"""What is in the entries of a cache, and entries that are not as they were written."""

from __future__ import annotations

from typing import Any

import pytest

from llmgw.ports.cache import CacheStore
from tests.fakes.gateway import RunningGateway
from tests.fakes.kept import EXACT, Broken, Noise, Seen, completion, words
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, json_reply


@pytest.mark.parametrize(
    ("damage", "then"),
    [
        (lambda entry: entry, "hit"),
        (lambda entry: entry[:-1], "miss"),
        (lambda entry: entry[:60] + bytes([entry[60] ^ 1]) + entry[61:], "miss"),
        (lambda entry: b"", "miss"),
        (lambda entry: entry[:4] + b"\x09\x09" + entry[6:], "miss"),
    ],
    ids=["whole", "cut", "flipped", "empty", "another version"],
)
async def test_i10_a_damaged_entry_is_a_miss(damage: Any, then: str) -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        store: CacheStore = Broken(damage)
        gateway._resources.cache.shelf.store = store
        upstream.default(json_reply(completion()))

        assert [words(await gateway.ask(chat())) for _ in range(2)] == ["miss", then]


async def test_i10_entries_of_another_version_are_a_miss() -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        gateway._resources.cache.shelf.store = Noise(None)
        upstream.default(json_reply(completion()))

        assert [words(await gateway.ask(chat())) for _ in range(2)] == ["miss", "miss"]


async def test_n07_nothing_of_the_request_is_kept() -> None:
    """Not its text, its credential, its address, nor the gateway's own credential: only the answer."""
    canary = "4111 1111 1111 1111"
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        store = Seen()
        gateway._resources.cache.shelf.store = store
        headers = {"set-cookie": "upstream-cookie", "x-upstream": "sk-upstream-canary"}
        upstream.script(json_reply(completion("the answer"), headers=headers))

        await gateway.ask(chat(canary, user="alice-canary"), headers={"x-mine": "header-canary"})

        assert b"the answer" in store.bytes
        for secret in (
            canary,
            "alice-canary",
            "header-canary",
            "sk-test",
            "sk-upstream-canary",
            "upstream-cookie",
        ):
            assert secret.encode() not in store.bytes


async def test_n07_answers_are_kept_as_they_were_redacted() -> None:
    """And what was kept before answers were redacted is not given any more."""
    redacted = EXACT + "redaction: {responses: [email]}\n"
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        store = Seen()
        gateway._resources.cache.shelf.store = store
        upstream.default(json_reply(completion("write to bob@example.test")))
        assert b"bob@example.test" in (await gateway.ask(chat())).body
        store.bytes = b""

        gateway.reload(redacted)
        answers = [await gateway.ask(chat()) for _ in range(2)]

        assert [words(answer) for answer in answers] == ["miss", "hit"]
        assert all(b"bob@example.test" not in answer.body for answer in answers)
        assert store.bytes
        assert b"bob@example.test" not in store.bytes
