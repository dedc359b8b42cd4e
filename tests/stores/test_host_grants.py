from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap

import pytest

from llmgw.stores.host_grants import MAX_LEASES, Grants, table_size


@pytest.fixture
def grants() -> Iterator[Grants]:
    with mmap(-1, 64 + table_size(4) + 64) as view:
        yield Grants(view, 64, 4)
        assert view[:64] == view[-64:] == bytes(64)


def test_a_grant_says_whose_leases_it_holds(grants: Grants) -> None:
    grants.write(2, "req_1", [7, 2**32 - 1, 2**40, 8, 0, 1])

    assert grants.taken() == [2]
    assert grants.free() == [3, 1, 0]
    assert grants.read(2) == ("req_1", [(7, 2**32 - 1, 2**40), (8, 0, 1)])


def test_every_grant_can_be_as_large_as_a_request(grants: Grants) -> None:
    leases = [(index, index + 1, index + 2) for index in range(MAX_LEASES)]
    for entry in range(4):
        grants.write(entry, f"{entry}" * 48, [number for lease in leases for number in lease])

    assert [grants.read(entry) for entry in range(4)] == [(f"{entry}" * 48, leases) for entry in range(4)]
    assert grants.free() == []


def test_a_grant_is_free_when_its_last_lease_ends(grants: Grants) -> None:
    grants.write(0, "req_1", [7, 0, 10, 8, 0, 20, 9, 0, 30])

    assert not grants.end(0, [8])
    assert grants.read(0)[1] == [(7, 0, 10), (8, 0, 0), (9, 0, 30)]
    assert not grants.end(0, [7])
    assert grants.taken() == [0]
    assert grants.end(0, [9])

    assert grants.taken() == []


def test_all_leases_end_at_once(grants: Grants) -> None:
    grants.write(0, "req_1", [7, 0, 10, 8, 0, 20])

    assert grants.end(0, [7, 8])

    assert grants.taken() == []


def test_a_shorter_grant_shows_nothing_of_the_one_before(grants: Grants) -> None:
    grants.write(0, "a long request id", [7, 0, 10, 8, 0, 20])
    grants.end(0, [7, 8])

    grants.write(0, "short", [9, 0, 1])

    assert grants.read(0) == ("short", [(9, 0, 1)])
