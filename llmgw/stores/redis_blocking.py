"""A plain connection to Redis for what may block: start-up, commands, seeding. Not for requests."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeVar

import hiredis

from llmgw.config.redis_url import RedisUrl
from llmgw.core.errors import Unavailable
from llmgw.stores.redis_claims import EPOCH, Word, command
from llmgw.stores.redis_script import digest_of

_T = TypeVar("_T")

_TIMEOUT_S = 2.0
_READ = 65_536
_HOPS = 4


class RedisRefusal(Exception):
    """Redis answered with an error."""


class BlockingRedis:
    """One connection to the server that counts. Raises Unavailable when there is none."""

    def __init__(self, url: RedisUrl, timeout_s: float = _TIMEOUT_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader()
        self._socket: socket.socket | None = None
        self._connect()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def call(self, *words: Word) -> Any:
        """One command's answer. Raises RedisRefusal and Unavailable."""
        assert self._socket is not None
        try:
            self._socket.sendall(command(*words))
            while (reply := self._reader.gets()) is False:
                data = self._socket.recv(_READ)
                if not data:
                    raise Unavailable(f"Redis at {self._url.where} closed the connection")
                self._reader.feed(data)
        except OSError as error:
            raise Unavailable(f"Redis at {self._url.where} does not answer: {_why(error)}") from error
        if isinstance(reply, hiredis.ReplyError):
            raise RedisRefusal(str(reply))
        return reply

    def script(self, text: str, keys: Sequence[Word], arguments: Sequence[Word] = ()) -> Any:
        """Run a script, by its digest when Redis knows it."""
        rest = (len(keys), *keys, *arguments)
        try:
            return self.call("EVALSHA", digest_of(text), *rest)
        except RedisRefusal as refusal:
            if not str(refusal).startswith("NOSCRIPT"):
                raise
        return self.call("EVAL", text, *rest)

    def _connect(self) -> None:
        last: Exception | None = None
        for host, port in addresses(self._url, self._timeout_s):
            try:
                self._open(host, port, self._url)
                for _ in range(_HOPS):
                    moved = self._moved()
                    if moved is None:
                        return
                    self.close()
                    self._open(*moved, self._url)
            except OSError as error:
                last = error
                self.close()
            except BaseException:
                self.close()
                raise
        why = "no node answers" if last is None else _why(last)
        raise Unavailable(f"Redis at {self._url.where} cannot be reached: {why}") from last

    def _open(self, host: str, port: int, url: RedisUrl) -> None:
        raw = socket.create_connection((host, port), self._timeout_s)
        raw.settimeout(self._timeout_s)
        self._reader = hiredis.Reader()
        try:
            self._socket = tls_context(url).wrap_socket(raw, server_hostname=host) if url.tls else raw
        except BaseException:
            raw.close()
            raise
        for words in greeting(url):
            try:
                self.call(*words)
            except RedisRefusal as refusal:
                raise Unavailable(refused(url, words, str(refusal))) from refusal

    def _moved(self) -> tuple[str, int] | None:
        """Where a cluster keeps the counters, if not here."""
        if self._url.kind != "cluster":
            return None
        try:
            self.call("GET", EPOCH)
        except RedisRefusal as refusal:
            return moved_to(str(refusal))
        return None


def with_redis(url: RedisUrl, work: Callable[[BlockingRedis], _T], timeout_s: float = _TIMEOUT_S) -> _T:
    """Do something on a connection of its own. Raises RedisRefusal and Unavailable."""
    with closing(BlockingRedis(url, timeout_s)) as redis:
        return work(redis)


def addresses(url: RedisUrl, timeout_s: float = _TIMEOUT_S) -> Iterator[tuple[str, int]]:
    """Where the server may be; a Sentinel is asked for its master. Raises Unavailable."""
    if url.kind != "sentinel":
        yield from url.nodes
        return
    for host, port in url.nodes:
        sentinel = RedisUrl("single", ((host, port),), tls=url.tls, ca=url.ca)
        try:
            with closing(BlockingRedis(sentinel, timeout_s)) as connection:
                found = connection.call("SENTINEL", "get-master-addr-by-name", url.master)
        except (Unavailable, RedisRefusal):
            continue
        if found:
            yield found[0].decode(), int(found[1])
            return
    raise Unavailable(f"no Sentinel at {url.where} knows a master named '{url.master}'")


def greeting(url: RedisUrl) -> list[tuple[str, ...]]:
    """What is said first on a connection."""
    words: list[tuple[str, ...]] = []
    if url.password is not None:
        words.append(("AUTH", url.user, url.password) if url.user else ("AUTH", url.password))
    if url.db:
        words.append(("SELECT", str(url.db)))
    words.append(("PING",))
    return words


def refused(url: RedisUrl, words: Sequence[str], answer: str) -> str:
    """What to tell people of a greeting that was refused."""
    if words[0] == "AUTH" or answer.startswith(("NOAUTH", "WRONGPASS")):
        return f"Redis at {url.where} refuses the credentials of storage.redis ({answer[:80]})"
    if words[0] == "SELECT":
        return f"Redis at {url.where} has no database {url.db} ({answer[:80]})"
    return f"Redis at {url.where} refuses to serve: {answer[:120]}"


def moved_to(answer: str) -> tuple[str, int] | None:
    """The node that a `MOVED` names."""
    if not answer.startswith("MOVED "):
        return None
    host, _, port = answer.split()[2].rpartition(":")
    return host, int(port)


def tls_context(url: RedisUrl) -> ssl.SSLContext:
    """For `rediss://`. Raises OSError when the certificates cannot be read."""
    return ssl.create_default_context(cafile=url.ca)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
