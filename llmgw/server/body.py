"""Reads a request's body by ASGI, within the front door's limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from llmgw.core.errors import ClientGone, RequestTimeout, RequestTooLarge
from llmgw.server.front_door import PACE_BYTES, PACE_S, FrontDoor, LargeBody

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


async def read_body(receive: Receive, declared: bytes, limits: FrontDoor, large: LargeBody) -> bytes:
    """The whole body. declared: the value of `content-length`, empty when there is none.

    Raises RequestTooLarge, RequestTimeout, Unavailable when there is no room, and ClientGone.
    """
    most = limits.max_body
    too_large = RequestTooLarge(f"the body is larger than {most} bytes")
    if declared.isdigit() and int(declared) > most:
        raise too_large
    pieces: list[bytes] = []
    size = counted = 0
    try:
        async with asyncio.timeout(limits.body_timeout_s), asyncio.timeout(PACE_S) as pace:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone("the client left")
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > most:
                    raise too_large
                large.grow_to(size)
                if not message.get("more_body"):
                    return b"".join(pieces)
                if size - counted >= PACE_BYTES:
                    counted = size
                    pace.reschedule(asyncio.get_running_loop().time() + PACE_S)
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time") from None
