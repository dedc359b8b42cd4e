from __future__ import annotations

import pytest

from llmgw.admin.keys import Keys, NewKey
from llmgw.core.api_key import digest, public_id, render_digest
from llmgw.core.errors import InvalidRequest, NotFound
from llmgw.stores.memory import MemoryKeyStore

NOW = 1_800_000_000


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryKeyStore:
    return MemoryKeyStore(clock)


@pytest.fixture
def keys(store: MemoryKeyStore, clock: Clock) -> Keys:
    return Keys(store, {"acme", "other"}, {"ci"}, clock)


def test_a_created_key_is_stored_by_its_hash_only(keys: Keys) -> None:
    issued, key = keys.create(NewKey("acme", "alice", ("gpt-*",), NOW + 60, {"team": "x"}))

    assert public_id(key) == issued.key_id
    assert issued.digest == render_digest(digest(key))
    assert keys.show(issued.key_id).user == "alice"
    secret = key.removeprefix(f"llmgw_{issued.key_id}_")
    assert secret not in repr(keys.row(issued))
    assert secret not in repr(keys.list())


def test_an_unknown_tenant_is_named_with_those_that_exist(keys: Keys) -> None:
    with pytest.raises(InvalidRequest, match='no tenant "acne"; it has acme, other'):
        keys.create(NewKey("acne"))


def test_a_key_cannot_be_born_expired(keys: Keys) -> None:
    with pytest.raises(InvalidRequest, match="passed"):
        keys.create(NewKey("acme", expires_at=NOW))


async def test_rotation_overlaps(keys: Keys, store: MemoryKeyStore, clock: Clock) -> None:
    """Both keys work during the overlap, then only the new one, with the same rights."""
    old, _ = keys.create(NewKey("acme", "alice", ("gpt-*",), None, {"team": "x"}))
    new, key = keys.rotate(old.key_id, 3600)

    assert public_id(key) == new.key_id != old.key_id
    assert (new.tenant, new.user, new.allow_models, new.labels) == (
        "acme",
        "alice",
        ("gpt-*",),
        {"team": "x"},
    )
    assert (new.rotated_from, keys.show(old.key_id).rotated_to) == (old.key_id, new.key_id)
    assert keys.state(keys.show(old.key_id)) == "rotated"
    assert {entry.key_id for entry in (await store.load())[1]} == {old.key_id, new.key_id}
    clock.now += 3600
    assert {entry.key_id for entry in (await store.load())[1]} == {new.key_id}
    assert keys.state(keys.show(old.key_id)) == "expired"


def test_what_cannot_be_rotated_says_why(keys: Keys, clock: Clock) -> None:
    once, _ = keys.create(NewKey("acme"))
    keys.rotate(once.key_id)
    gone, _ = keys.create(NewKey("acme"))
    keys.revoke(gone.key_id)
    past, _ = keys.create(NewKey("acme", expires_at=NOW + 1))
    clock.now += 5

    for key, state in ((once, "rotated"), (gone, "revoked"), (past, "expired")):
        with pytest.raises(InvalidRequest, match=f"{key.key_id} is {state}"):
            keys.rotate(key.key_id)


def test_revoking_twice_keeps_the_first_time(keys: Keys, clock: Clock) -> None:
    issued, _ = keys.create(NewKey("acme"))
    first = keys.revoke(issued.key_id)
    clock.now += 10

    assert keys.revoke(issued.key_id) == first
    assert first.revoked_at == NOW
    assert keys.state(first) == "revoked"


def test_a_whole_key_does_for_its_id(keys: Keys) -> None:
    issued, key = keys.create(NewKey("acme"))

    assert keys.show(key) == issued or keys.show(key).key_id == issued.key_id
    assert keys.revoke(key).key_id == issued.key_id


@pytest.mark.parametrize("act", ["show", "revoke", "rotate"])
def test_an_unknown_key_is_not_found(keys: Keys, act: str) -> None:
    with pytest.raises(NotFound, match="no key has the id 'nobody'"):
        getattr(keys, act)("nobody")
    with pytest.raises(NotFound, match="declared in the configuration file"):
        getattr(keys, act)("ci")


def test_a_mistyped_key_is_not_repeated(keys: Keys) -> None:
    _, key = keys.create(NewKey("acme"))
    mistyped = key.replace("llmgw", "lmgw")

    with pytest.raises(NotFound) as caught:
        keys.show(mistyped)

    assert mistyped[-20:] not in str(caught.value)


def test_the_list_can_be_one_tenants(keys: Keys) -> None:
    keys.create(NewKey("acme"))
    other, _ = keys.create(NewKey("other"))

    assert [key.key_id for key in keys.list("other")] == [other.key_id]
    assert len(keys.list()) == 2


def test_a_row_has_stable_names(keys: Keys) -> None:
    issued, _ = keys.create(NewKey("acme", None, (), NOW + 60))

    assert keys.row(issued) == {
        "id": issued.key_id,
        "tenant": "acme",
        "user": None,
        "state": "active",
        "allow_models": [],
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T08:01:00Z",
        "revoked_at": None,
        "rotated_from": None,
        "rotated_to": None,
        "labels": {},
        "hash": issued.digest,
    }
