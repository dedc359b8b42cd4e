"""What every pair of key registry and key store promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmgw.core.api_key import digest, parse_digest, render_digest
from llmgw.ports.stores import IssuedKey, KeyRegistry, KeyStore

NOW = 1_800_000_000
HOSTILE = [
    "'; DROP TABLE keys; --",
    '" OR 1=1 --',
    "' UNION SELECT digest FROM keys --",
    "%_\\'\"`;--/**/",
    "x') OR ('1'='1",
    "\x00' OR 1=1",
    "${jndi:ldap://x}",
    "ключ'",
]


def plain(text: str) -> str:
    """The text as a database without the NUL character has it."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def key(name: str, **changes: Any) -> IssuedKey:
    made = IssuedKey(name, render_digest(digest(name)), "acme", "alice", None, {}, NOW - 100)
    return replace(made, **changes)


class KeysContract:
    """A subclass gives the fixtures `registry` and `store`, on one set of keys, at time NOW."""

    async def test_empty(self, store: KeyStore) -> None:
        assert await store.load() == (await store.changed_seq(), [])

    async def test_every_change_moves_the_number(self, registry: KeyRegistry, store: KeyStore) -> None:
        seen = [await store.changed_seq()]
        registry.add(key("one"))
        seen.append(await store.changed_seq())
        assert registry.replace("one", key("two", created_at=NOW), NOW + 60)
        seen.append(await store.changed_seq())
        assert registry.revoke("two", NOW)
        seen.append(await store.changed_seq())

        assert seen == sorted(set(seen))

    async def test_nothing_done_leaves_the_number(self, registry: KeyRegistry, store: KeyStore) -> None:
        registry.add(key("one"))
        registry.revoke("one", NOW)
        before = await store.changed_seq()

        assert registry.revoke("one", NOW + 5)
        assert not registry.revoke("nobody", NOW)
        assert not registry.replace("nobody", key("two"), NOW)
        assert not registry.replace("one", key("two"), NOW)
        with pytest.raises(ValueError, match="already"):
            registry.add(key("one"))

        assert await store.changed_seq() == before
        assert registry.get("two") is None
        assert registry.get("one").revoked_at == NOW  # type: ignore[union-attr]

    async def test_a_key_comes_back_whole(self, registry: KeyRegistry, store: KeyStore) -> None:
        made = key("one", allow_models=("gpt-*", "echo"), labels={"team": "a'b"}, expires_at=NOW + 5)
        registry.add(made)

        seq, entries = await store.load()

        assert replace(registry.get("one"), changed_seq=0) == made  # type: ignore[type-var]
        assert registry.get("one").changed_seq == seq  # type: ignore[union-attr]
        (entry,) = entries
        assert (entry.key_id, entry.tenant, entry.user) == ("one", "acme", "alice")
        assert entry.digest == parse_digest(made.digest)
        assert entry.allow_models == ("gpt-*", "echo")
        assert entry.expires_at == NOW + 5
        assert entry.labels == {"team": "a'b"}

    async def test_no_models_is_not_all_models(self, registry: KeyRegistry, store: KeyStore) -> None:
        registry.add(key("all"))
        registry.add(key("none", allow_models=()))

        allowed = {entry.key_id: entry.allow_models for entry in (await store.load())[1]}

        assert allowed == {"all": None, "none": ()}

    async def test_only_usable_keys_are_loaded(self, registry: KeyRegistry, store: KeyStore) -> None:
        registry.add(key("good"))
        registry.add(key("later", expires_at=NOW + 1))
        registry.add(key("past", expires_at=NOW - 1))
        registry.add(key("gone"))
        registry.revoke("gone", NOW)

        assert {entry.key_id for entry in (await store.load())[1]} == {"good", "later"}
        assert [found.key_id for found in registry.list()] == ["good", "later", "past", "gone"]
        assert registry.list("other") == []

    async def test_rotation_never_prolongs(self, registry: KeyRegistry) -> None:
        """The overlap ends with the old key's own expiry at the latest, and happens once."""
        registry.add(key("short", expires_at=NOW + 10))
        assert registry.replace("short", key("next", created_at=NOW, rotated_from="short"), NOW + 60)

        old = registry.get("short")
        assert old is not None
        assert (old.expires_at, old.rotated_to) == (NOW + 10, "next")
        assert not registry.replace("short", key("third", created_at=NOW), NOW + 60)
        assert registry.get("third") is None

    async def test_an_expired_key_is_not_rotated(self, registry: KeyRegistry) -> None:
        registry.add(key("past", expires_at=NOW - 1))

        assert not registry.replace("past", key("next", created_at=NOW), NOW + 60)

    @pytest.mark.parametrize("text", HOSTILE)
    async def test_d01_metacharacters_are_only_text(
        self, registry: KeyRegistry, store: KeyStore, text: str
    ) -> None:
        """Names out of an attacker's list are stored and looked up as they are."""
        registry.add(key("safe"))
        registry.add(key(text, tenant=text, user=text, labels={text: text}, allow_models=(text,)))

        assert [plain(found.key_id) for found in registry.list(text)] == [plain(text)]
        assert registry.get(text + "x") is None
        assert not registry.revoke(text + "x", NOW)
        assert registry.revoke(text, NOW)
        assert [entry.key_id for entry in (await store.load())[1]] == ["safe"]
