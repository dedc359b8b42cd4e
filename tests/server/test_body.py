from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmgw.core.errors import ClientGone, RequestTimeout, RequestTooLarge, Unavailable
from llmgw.server.body import read_body
from llmgw.server.front_door import LARGE_BODY, Bodies, FrontDoor, LargeBody

ROOM = Bodies(2 * LARGE_BODY)


async def read(*pieces: bytes | None, declared: bytes = b"", limits: FrontDoor | None = None) -> bytes:
    """What is read of a body that comes in pieces, of which None is the client's leaving."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        piece = left.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    with LargeBody(ROOM) as large:
        return await read_body(receive, declared, limits or FrontDoor(), large)


async def test_pieces_are_joined() -> None:
    assert await read(b"{", b"", b"}") == b"{}"


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    with pytest.raises(RequestTooLarge):
        await read(declared=b"11", limits=FrontDoor(max_body=10))


async def test_a_body_that_turns_out_too_large_is_refused() -> None:
    with pytest.raises(RequestTooLarge):
        await read(b"12345", b"678901", limits=FrontDoor(max_body=10))


async def test_a_client_that_leaves_within_its_body() -> None:
    with pytest.raises(ClientGone):
        await read(b"{", None)


async def test_a_body_that_does_not_come_in_time() -> None:
    with pytest.raises(RequestTimeout):
        await read(b"{", b"}", limits=FrontDoor(body_timeout_s=-1.0))


async def test_large_bodies_take_room_and_give_it_back() -> None:
    large = b"x" * (LARGE_BODY + 1)
    assert await read(large) == large
    assert ROOM.held == 0
    with pytest.raises(Unavailable):
        await read(large, large)
    assert ROOM.held == 0
