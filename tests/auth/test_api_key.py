from __future__ import annotations

import time

import pytest

from llmgw.auth.api_key import ApiKeys
from llmgw.core.api_key import digest, generate
from llmgw.core.errors import InvalidCredentials
from llmgw.ports.stores import KeyEntry


def entry(key: str, key_id: str, **more: object) -> KeyEntry:
    return KeyEntry(key_id, "acme", "alice", digest(key), **more)  # type: ignore[arg-type]


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


def test_an_issued_key_is_found_by_its_public_id() -> None:
    key_id, key = generate()
    keys = ApiKeys([entry(key, key_id, allow_models=("gpt-*",))])

    principal = keys.principal(bearer(key))

    assert principal is not None
    assert (principal.tenant, principal.user, principal.key_id) == ("acme", "alice", key_id)
    assert principal.allow_models == ("gpt-*",)


def test_a_declared_key_has_any_form() -> None:
    keys = ApiKeys([entry("whatever they had before", "ci")])

    assert keys.principal(bearer("whatever they had before")).key_id == "ci"  # type: ignore[union-attr]


def test_d02_every_wrong_key_gets_the_same_answer() -> None:
    """Unknown id, right id with a wrong secret, and no form at all cannot be told apart."""
    key_id, key = generate()
    keys = ApiKeys([entry(key, key_id)])
    messages = set()

    for wrong in (generate()[1], key[:-1] + ("A" if key[-1] != "A" else "B"), "x", key + "x", key.upper()):
        with pytest.raises(InvalidCredentials) as refused:
            keys.principal(bearer(wrong))
        messages.add(refused.value.message)

    assert messages == {"the API key is not valid"}


def test_a_key_that_has_expired() -> None:
    _, key = generate()
    keys = ApiKeys([entry(key, "k", expires_at=time.time() - 1)])

    with pytest.raises(InvalidCredentials, match="expired"):
        keys.principal(bearer(key))


def test_replace_forgets_what_is_not_there_any_more() -> None:
    _, key = generate()
    keys = ApiKeys([entry(key, "k")])

    keys.replace([])

    with pytest.raises(InvalidCredentials):
        keys.principal(bearer(key))


def test_no_credential_is_none() -> None:
    assert ApiKeys().principal({b"host": b"x"}) is None
    assert ApiKeys().principal({b"authorization": b"Bearer "}) is None
    assert ApiKeys().principal({b"x-api-key": b"client-certificate"}) is None


@pytest.mark.parametrize("said", [b"Bearer", b"Bearer ", b"Bearer client-certificate"])
def test_a_header_without_a_key_proves_nothing_because_another_beside_it_did(said: bytes) -> None:
    """What an SDK sends that was given an empty key, and the real one as a header of its own."""
    key_id, key = generate()
    keys = ApiKeys([entry(key, key_id)])

    assert keys.principal({b"authorization": said, b"x-api-key": key.encode()}) is not None

    assert keys.principal({b"authorization": said}) is None


def test_what_is_a_key_can_be_told_without_asking_whose() -> None:
    """The form of an issued one, known or not, and those that are declared."""
    keys = ApiKeys([entry("whatever they had before", "ci")])

    assert keys.knows(generate()[1].encode())
    assert keys.knows(b"whatever they had before")
    assert not keys.knows(b"whatever")
