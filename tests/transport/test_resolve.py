"""Addresses are checked before they are used, and remembered for when the resolver fails."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from llmgw.core.errors import UpstreamUnreachable
from llmgw.transport.resolve import MAX_REMEMBERED, Resolver


class Names:
    """A loop's resolver and clock, by hand."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str] | OSError] = {}
        self.now = 0.0

    def time(self) -> float:
        return self.now

    async def getaddrinfo(self, host: str, port: int, *, type: int) -> list[tuple[Any, ...]]:
        answer = self.answers[host]
        if isinstance(answer, OSError):
            raise answer
        return [(socket.AF_INET, type, 6, "", (address, port)) for address in answer]


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def resolver(names: Names) -> Resolver:
    return Resolver(names)  # type: ignore[arg-type]


async def test_order_is_kept_and_repeats_are_not(names: Names, resolver: Resolver) -> None:
    """The system's order is RFC 6724's."""
    names.answers["api.example"] = ["8.8.8.8", "1.1.1.1", "8.8.8.8"]

    assert await resolver.addresses("api.example", 443, allow_private=False) == ("8.8.8.8", "1.1.1.1")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0", "100.64.0.1"]
)
async def test_one_private_address_refuses_the_name(names: Names, resolver: Resolver, address: str) -> None:
    """A name that answers with both is not trusted for either (E03)."""
    names.answers["api.example"] = ["8.8.8.8", address]

    with pytest.raises(UpstreamUnreachable) as caught:
        await resolver.addresses("api.example", 443, allow_private=False)

    assert address in (caught.value.detail or "")
    assert address not in caught.value.message
    assert await resolver.addresses("api.example", 443, allow_private=True) == ("8.8.8.8", address)


async def test_rebound_name_is_checked_again(names: Names, resolver: Resolver) -> None:
    """Each connection checks the addresses it is about to use (E03)."""
    names.answers["api.example"] = ["8.8.8.8"]
    await resolver.addresses("api.example", 443, allow_private=False)
    names.answers["api.example"] = ["127.0.0.1"]

    with pytest.raises(UpstreamUnreachable):
        await resolver.addresses("api.example", 443, allow_private=False)


async def test_j19_last_good_answer_serves_for_five_minutes(names: Names, resolver: Resolver) -> None:
    """And no longer."""
    names.answers["api.example"] = ["8.8.8.8"]
    await resolver.addresses("api.example", 443, allow_private=False)
    names.answers["api.example"] = OSError("resolver is down")

    names.now = 299.0
    assert await resolver.addresses("api.example", 443, allow_private=False) == ("8.8.8.8",)
    names.now = 301.0
    with pytest.raises(UpstreamUnreachable):
        await resolver.addresses("api.example", 443, allow_private=False)


async def test_j19_no_address_at_all(names: Names, resolver: Resolver) -> None:
    """Is a failure."""
    names.answers["api.example"] = []

    with pytest.raises(UpstreamUnreachable):
        await resolver.addresses("api.example", 443, allow_private=True)


async def test_memory_is_bounded(names: Names, resolver: Resolver) -> None:
    """The oldest answer makes room."""
    for n in range(MAX_REMEMBERED + 1):
        names.answers[f"h{n}"] = ["8.8.8.8"]
        await resolver.addresses(f"h{n}", 1, allow_private=False)
    names.answers["h0"] = names.answers["h1"] = OSError("down")

    with pytest.raises(UpstreamUnreachable):
        await resolver.addresses("h0", 1, allow_private=False)
    assert await resolver.addresses("h1", 1, allow_private=False) == ("8.8.8.8",)
