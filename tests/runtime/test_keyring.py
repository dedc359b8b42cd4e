from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from llmgw.auth.api_key import ApiKeys
from llmgw.core.api_key import digest
from llmgw.core.errors import InvalidCredentials, Unavailable
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


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_d19_an_unknown_key_is_refused_only_by_a_store_that_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 while nobody can say, for whoever holds a new key may be right; 401 when the store answers."""
    store, keys, clock = Store(), ApiKeys(), Clock()
    monkeypatch.setattr("llmgw.auth.api_key.time.monotonic", clock)
    store.keys = [entry("issued")]
    ring = Keyring(keys, store, [], lambda error: None, now=clock)
    await ring.open()
    assert not known(keys, "new")

    store.down = True
    clock.now += keyring.AWAY_AFTER_S + 0.1
    await ring._try()

    assert known(keys, "issued")
    with pytest.raises(Unavailable) as caught:
        known(keys, "new")
    assert (caught.value.status, caught.value.code) == (503, "store_unavailable")
    assert caught.value.retry_after_s

    store.down = False
    await ring._try()
    assert not known(keys, "new")


async def test_d19_issued_keys_end_with_the_grace_and_come_back_with_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Declared keys always work."""
    store, keys, clock = Store(), ApiKeys(), Clock()
    monkeypatch.setattr("llmgw.auth.api_key.time.monotonic", clock)
    store.keys = [entry("issued")]
    ring = Keyring(keys, store, [entry("declared")], lambda error: None, stale_grace=300, now=clock)
    await ring.open()
    store.down = True

    clock.now += 299
    await ring._try()
    assert known(keys, "issued")
    clock.now += 2
    await ring._try()
    with pytest.raises(Unavailable):
        known(keys, "issued")
    assert known(keys, "declared")

    store.down = False
    await ring._try()
    assert known(keys, "issued")


async def test_d19_a_revocation_that_was_seen_holds_while_the_store_is_away() -> None:
    store, keys = Store(), ApiKeys()
    store.keys = [entry("gone")]
    ring = Keyring(keys, store, [], lambda error: None)
    await ring.open()
    store.seq, store.keys = 1, []
    await ring.refresh()
    store.down = True
    await ring._try()

    assert not known(keys, "gone")


async def test_d19_a_process_that_starts_meanwhile_serves_declared_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that replaces a dead one cannot know the issued keys, and refuses none of them."""
    store, keys, clock, told = Store(), ApiKeys(), Clock(), []
    monkeypatch.setattr("llmgw.auth.api_key.time.monotonic", clock)
    store.load = lambda: store.changed_seq()  # type: ignore[assignment,return-value]
    store.down = True
    ring = Keyring(keys, store, [entry("declared")], told.append, now=clock)
    keys.replace([entry("declared")])
    await ring.open()
    clock.now += 0.1

    assert known(keys, "declared")
    with pytest.raises(Unavailable):
        known(keys, "issued")
    assert [type(error) for error in told] == [OSError]


@pytest.mark.parametrize(("age", "works"), [(10.0, True), (299.0, True), (301.0, False)])
async def test_d19_a_process_that_starts_meanwhile_knows_what_others_saw(
    age: float, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the grace, which began when the store last answered anybody on the host."""

    class Kept:
        def write(self, entries: object) -> None: ...

        def confirm(self) -> None: ...

        def read(self) -> tuple[float, list[KeyEntry]]:
            return age, [entry("issued")]

    store, keys, clock = Store(), ApiKeys(), Clock()
    monkeypatch.setattr("llmgw.auth.api_key.time.monotonic", clock)
    store.load = lambda: store.changed_seq()  # type: ignore[assignment,return-value]
    store.down = True
    ring = Keyring(keys, store, [], lambda error: None, stale_grace=300, kept=Kept(), now=clock)
    await ring.open()
    clock.now += 0.5

    if works:
        assert known(keys, "issued")
        clock.now += 300 - age
        await ring._try()
    with pytest.raises(Unavailable):
        known(keys, "issued")


class Notices:
    def __init__(self) -> None:
        self.listening = False
        self.heard = 0

    async def listen(self, changed: Callable[[], None]) -> None:
        self.listening, self.changed = True, changed
        await asyncio.Event().wait()


async def test_d03_a_notice_is_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "POLL_S", 0.001)
    monkeypatch.setattr(keyring, "LISTENING_POLL_S", 3600.0)
    store, keys, notices = Store(), ApiKeys(), Notices()
    store.keys = [entry("issued")]
    ring = Keyring(keys, store, [], lambda error: None, notices=notices)
    await ring.refresh()
    watch = asyncio.ensure_future(ring.watch())
    await asyncio.sleep(0.05)

    store.seq, store.keys = 1, []
    await asyncio.sleep(0.05)
    assert known(keys, "issued")
    notices.changed()
    for _ in range(100):
        await asyncio.sleep(0.01)
        if not known(keys, "issued"):
            break

    assert not known(keys, "issued")
    # Nobody looks for an hour, and unknown keys are refused as such meanwhile.
    assert keys.current_until > ring._answered_at + 3600
    watch.cancel()


async def test_m10_a_notice_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "LISTENING_POLL_S", 0.02)
    store, keys = Store(), ApiKeys()
    store.keys = [entry("issued")]
    ring = Keyring(keys, store, [], lambda error: None, notices=Notices())
    await ring.refresh()
    watch = asyncio.ensure_future(ring.watch())

    store.seq, store.keys = 1, []
    for _ in range(100):
        await asyncio.sleep(0.01)
        if not known(keys, "issued"):
            break
    watch.cancel()

    assert not known(keys, "issued")
