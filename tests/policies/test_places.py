from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmgw.policies.places import Places


class Room:
    """So many places."""

    def __init__(self, free: int) -> None:
        self.free = free

    def take(self) -> str | None:
        if not self.free:
            return None
        self.free -= 1
        return "place"

    def give_back(self, taken: str) -> None:
        self.free += 1


async def waiting(places: Places, room: Room, tenant: str, done: Callable[[], None]) -> str | None:
    taken = await places.take(tenant, room.take, room.give_back)
    done()
    return taken


async def test_tenants_take_turns() -> None:
    """However many of one tenant's wait, another's is next after one of them."""
    places, room, order = Places(100, 5.0), Room(0), list[str]()
    tasks = [
        asyncio.create_task(waiting(places, room, tenant, lambda tenant=tenant: order.append(tenant)))  # type: ignore[misc]
        for tenant in ["a"] * 5 + ["b", "c"]
    ]
    await asyncio.sleep(0)
    for _ in tasks:
        room.free += 1
        places.freed()
        await asyncio.sleep(0.001)

    assert order == ["a", "b", "c", "a", "a", "a", "a"]
    assert places.waiting == 0


async def test_a_full_line_takes_nobody() -> None:
    places, room = Places(1, 5.0), Room(0)
    first = asyncio.create_task(places.take("a", room.take, room.give_back))
    await asyncio.sleep(0)

    assert await places.take("b", room.take, room.give_back) is None
    first.cancel()


async def test_who_waits_too_long_goes_without() -> None:
    places, room = Places(5, 0.02), Room(0)

    assert await places.take("a", room.take, room.give_back) is None
    assert places.waiting == 0


async def test_a_place_that_another_process_gave_back_is_found() -> None:
    """Nobody tells this process; the first in line looks now and then."""
    places, room = Places(5, 5.0), Room(0)
    task = asyncio.create_task(places.take("a", room.take, room.give_back))
    await asyncio.sleep(0)
    room.free = 1

    assert await asyncio.wait_for(task, 1) == "place"


async def test_who_leaves_at_the_very_moment_gives_back() -> None:
    """A place that was given to somebody who is gone is free again, and the next has it."""
    places, room = Places(5, 5.0), Room(0)
    leaving = asyncio.create_task(places.take("a", room.take, room.give_back))
    staying = asyncio.create_task(places.take("a", room.take, room.give_back))
    await asyncio.sleep(0)
    room.free = 1
    places.freed()
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    assert await asyncio.wait_for(staying, 1) == "place"
    assert room.free == 0
