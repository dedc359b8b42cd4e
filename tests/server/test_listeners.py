from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import Any

import pytest

from llmgw.server import listeners
from llmgw.server.listeners import ListenError, bind, reserve, share


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_sockets_of_several_workers_share_an_address(host: str) -> None:
    """Connections go to those that listen; the reservation itself takes none."""
    with closing(reserve("server.listen", host, 0)) as reserved:
        address = reserved.getsockname()
        with closing(socket.socket(reserved.family)) as client:
            assert client.connect_ex(address) != 0
        workers = [share(reserved) for _ in range(2)]
        for sock in workers:
            assert sock.getsockname() == address
            sock.listen()
        clients = []
        for _ in range(40):
            clients.append(socket.create_connection(address[:2]))

        taken = [0, 0]
        for index, sock in enumerate(workers):
            while True:
                try:
                    sock.accept()[0].close()
                except BlockingIOError:
                    break
                taken[index] += 1
        for each in (*clients, *workers):
            each.close()

    assert sum(taken) == 40
    assert min(taken) > 0


def test_an_address_that_others_share_is_taken() -> None:
    """Two gateways with one address would each get a part of the connections."""
    with closing(reserve("server.listen", "127.0.0.1", 0)) as reserved, closing(share(reserved)) as worker:
        worker.listen()
        host, port = reserved.getsockname()

        for attempt in (reserve, bind):
            with pytest.raises(ListenError, match=f"server.listen {host}:{port} cannot be listened on"):
                attempt("server.listen", host, port)


def test_a_worker_that_ends_takes_no_connection_with_it() -> None:
    """What comes after goes to those that are left."""
    with closing(reserve("server.listen", "127.0.0.1", 0)) as reserved:
        first, second = share(reserved), share(reserved)
        first.listen()
        second.listen()
        first.close()
        clients = [socket.create_connection(reserved.getsockname()) for _ in range(20)]

        for _ in clients:
            second.accept()[0].close()

        for each in (*clients, second):
            each.close()


async def test_a_connection_with_an_unread_request_is_not_one_that_waits() -> None:
    """Closing it would answer the request with a reset."""
    made: asyncio.Queue[Any] = asyncio.Queue()

    class Kept(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:  # Any: of uvloop's own class
            transport.pause_reading()
            made.put_nowait(transport)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Kept, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    transport = await asyncio.wait_for(made.get(), 5)
    assert not listeners._has_sent(transport)

    writer.write(b"POST")
    async with asyncio.timeout(5):
        while not listeners._has_sent(transport):
            await asyncio.sleep(0.001)

    transport.abort()
    assert not listeners._has_sent(transport)
    writer.close()
    server.close()
