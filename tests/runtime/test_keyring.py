from __future__ import annotations

import asyncio

import pytest

from llmgw.auth.api_key import ApiKeys
from llmgw.core.api_key import digest
from llmgw.core.errors import InvalidCredentials
from llmgw.ports.stores import KeyEntry
from llmgw.runtime import keyring
from llmgw.runtime.keyring import Keyring


class Store:
    """loads: how often the keys were read."""

    def __init__(self) -> None:
        self.seq = 0
        self.keys: list[KeyEntry] = []
        self.loads = 0
        self.down = False

    async def load(self) -> tuple[int, list[KeyEntry]]:
        self.loads += 1
        return self.seq, self.keys

    async def changed_seq(self) -> int:
        if self.down:
            raise OSError("away")
        return self.seq


def entry(key: str) -> KeyEntry:
    return KeyEntry(key, "acme", None, digest(key))


def known(keys: ApiKeys, key: str) -> bool:
    try:
        return keys.principal({b"x-api-key": key.encode()}) is not None
    except InvalidCredentials:
        return False


async def test_keys_are_loaded_when_they_changed_and_only_then() -> None:
    store, keys = Store(), ApiKeys()
    ring = Keyring(keys, store, [entry("declared")], lambda error: None)
    await ring.refresh()
    await ring.refresh()
    assert store.loads == 1
    assert known(keys, "declared")

    store.seq, store.keys = 1, [entry("issued")]
    await ring.refresh()

    assert store.loads == 2
    assert known(keys, "issued")
    assert known(keys, "declared")


async def test_keys_of_another_configuration_join_those_that_were_issued() -> None:
    store, keys = Store(), ApiKeys()
    store.keys = [entry("issued")]
    ring = Keyring(keys, store, [entry("declared")], lambda error: None)
    await ring.refresh()

    ring.declare([entry("other")])

    assert store.loads == 1
    assert known(keys, "issued")
    assert known(keys, "other")
    assert not known(keys, "declared")


async def test_d19_while_the_store_is_away_known_keys_go_on_working(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble is told once, and its end once."""
    monkeypatch.setattr(keyring, "POLL_S", 0.001)
    store, keys, told = Store(), ApiKeys(), []
    store.keys = [entry("issued")]
    ring = Keyring(keys, store, [], told.append)
    await ring.refresh()
    watch = asyncio.ensure_future(ring.watch())

    store.down = True
    await asyncio.sleep(0.03)
    assert known(keys, "issued")
    store.down = False
    await asyncio.sleep(0.03)
    watch.cancel()

    assert [type(error) for error in told] == [OSError, type(None)]
