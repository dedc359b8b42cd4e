"""A plain connection to Redis, on a real one and on sockets that misbehave."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from llmgw.config.redis_url import RedisUrl, parse_redis_url
from llmgw.core.errors import Unavailable
from llmgw.stores.redis_blocking import BlockingRedis, RedisRefusal, greeting, moved_to, with_redis
from tests.fakes.redis import RedisServer, redis_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@contextmanager
def listening(*answers: bytes) -> Iterator[RedisUrl]:
    """A server that gives these answers to what it is sent, one each, and then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                for answer in answers:
                    connection.recv(65536)
                    connection.sendall(answer)
                connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        yield RedisUrl("single", (listener.getsockname(),))
        thread.join(10)


def test_an_answer_an_error_and_an_answer_again(server: RedisServer) -> None:
    with closing(BlockingRedis(server.parsed())) as redis:
        assert redis.call("SET", "llmgw", b"\x00\xff") == b"OK"
        with pytest.raises(RedisRefusal, match="WRONGTYPE"):
            redis.call("HGETALL", "llmgw")
        assert redis.call("GET", "llmgw") == b"\x00\xff"


def test_an_answer_in_many_pieces(server: RedisServer) -> None:
    with closing(BlockingRedis(server.parsed())) as redis:
        assert redis.call("ECHO", b"x" * 1_000_000) == b"x" * 1_000_000


def test_f13_a_script_is_sent_once_and_again_when_it_was_forgotten(server: RedisServer) -> None:
    with closing(BlockingRedis(server.parsed())) as redis:
        for _ in range(2):
            assert redis.script("return {KEYS[1], ARGV[1]}", ["k"], ["a"]) == [b"k", b"a"]
            redis.call("SCRIPT", "FLUSH")
        with pytest.raises(RedisRefusal, match="no such luck"):
            redis.script("return redis.error_reply('no such luck')", [])


def test_nobody_listens() -> None:
    with pytest.raises(Unavailable, match=r"Redis at 127\.0\.0\.1:1 cannot be reached: Connection refused"):
        BlockingRedis(RedisUrl("single", (("127.0.0.1", 1),)))


def test_the_next_node_is_asked(server: RedisServer) -> None:
    url = RedisUrl("cluster", (("127.0.0.1", 1), ("127.0.0.1", server.port)))

    # Not a cluster, but one that has the key, which is what matters.
    assert with_redis(url, lambda redis: redis.call("PING")) == b"PONG"


def test_f10_a_silent_server_keeps_nobody_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="does not answer: timed out"):
            BlockingRedis(RedisUrl("single", (listener.getsockname(),)), 0.1)
        assert time.monotonic() - began < 2


def test_a_server_that_hangs_up() -> None:
    with (
        listening(b"+PONG\r\n") as url,
        closing(BlockingRedis(url)) as redis,
        pytest.raises(Unavailable, match=r"closed the connection|does not answer"),
    ):
        redis.call("GET", "x")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"-NOAUTH Authentication required.\r\n", "refuses the credentials of storage.redis"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "refuses to serve: LOADING"),
    ],
)
def test_a_greeting_that_is_refused_is_one_line(answer: bytes, told: str) -> None:
    with listening(answer) as url, pytest.raises(Unavailable, match=told) as caught:
        BlockingRedis(url)
    assert "\n" not in str(caught.value)


def test_a_database_that_there_is_not(server: RedisServer) -> None:
    url = parse_redis_url(f"redis://127.0.0.1:{server.port}/99")

    with pytest.raises(Unavailable, match="has no database 99"):
        BlockingRedis(url)


def test_certificates_that_cannot_be_read(server: RedisServer) -> None:
    url = parse_redis_url(f"rediss://127.0.0.1:{server.port}/0?ca=/nowhere/ca.pem")

    with pytest.raises(Unavailable, match="cannot be reached"):
        BlockingRedis(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://h", [("PING",)]),
        ("redis://:pw@h/3", [("AUTH", "pw"), ("SELECT", "3"), ("PING",)]),
        ("redis://u:pw@h", [("AUTH", "u", "pw"), ("PING",)]),
    ],
)
def test_what_is_said_first(url: str, words: list[tuple[str, ...]]) -> None:
    assert greeting(parse_redis_url(url)) == words


def test_where_a_cluster_sends_one() -> None:
    assert moved_to("MOVED 3999 127.0.0.1:6381") == ("127.0.0.1", 6381)
    assert moved_to("MOVED 3999 ::1:6381") == ("::1", 6381)
    assert moved_to("ERR unknown command") is None
