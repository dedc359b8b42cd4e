"""h11 tells what httptools tells, however the bytes are cut."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import httptools
import pytest

from llmgw.server.bounded import httptools_parser
from llmgw.server.h11_parser import H11Parser
from tests.server.corpus.case import BODY, CHUNKED, Case, chunked, post
from tests.server.corpus.framing import CHUNKS, CODINGS, LENGTH_AND_CODING, LENGTHS, TRAILERS
from tests.server.corpus.heads import HOSTS, NAMES, SIZES, VALUES
from tests.server.corpus.request_lines import LINE_ENDS, METHODS, PATHS, TARGETS, VERSIONS

CASES = [
    *(case for case in (*CHUNKS, *CODINGS, *LENGTH_AND_CODING, *LENGTHS, *TRAILERS)),
    *(case for case in (*NAMES, *VALUES, *LINE_ENDS, *METHODS, *PATHS, *TARGETS, *VERSIONS)),
]
ANSWERED_BY_THE_DOOR = 400


class Told:
    """The whole messages that a parser tells of, and what it thinks of each."""

    def __init__(self, make_parser: Callable[[object], Any]) -> None:
        self.parser = make_parser(self)
        self.messages: list[tuple[object, ...]] = []
        self.failed = False

    def feed(self, data: bytes) -> None:
        if self.failed:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.failed = True

    def on_message_begin(self) -> None:
        self._url = self._body = b""
        self._fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # h11 gives the coding in lower case.
        value = value.lower() if name.lower() == b"transfer-encoding" else value
        self._fields.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        parser = self.parser
        self._line = parser.get_method(), parser.get_http_version(), parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.messages.append((self._line, self._url, self._fields, self._body))


def both(pieces: list[bytes]) -> tuple[Told, Told]:
    one, other = Told(httptools_parser), Told(H11Parser)
    for piece in pieces:
        one.feed(piece)
        other.feed(piece)
    return one, other


def cut(data: bytes, seed: int) -> list[bytes]:
    at = random.Random(seed)
    pieces = []
    while data:
        size = at.randint(1, 40)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


GOOD = {
    "a request": post(),
    "two": post() * 2,
    "chunks": chunked(b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nX: y\r\n\r\n") + post(),
    "none": b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "one with empty lines": b"\r\n\r\n" + post() + b"\r\n" + post(),
    "one that ends the connection": post(b"Connection: close") + post() + b"garbage",
    "one of version 1.0": post(line=b"POST / HTTP/1.0") + post(),
    "one of version 1.0 that goes on": post(b"Connection: keep-alive", line=b"POST / HTTP/1.0") + post(),
    "high bytes": post(b"X: \xff\x80 \t"),
    "all methods": b"".join(post(line=method + b" / HTTP/1.1") for method in (b"GET", b"QUERY", b"M-SEARCH")),
    "a URL": post(line=b"POST http://a.test/x?y HTTP/1.1"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_requests(name: str) -> None:
    data = GOOD[name]
    cuts = [[data], [bytes([byte]) for byte in data], *(cut(data, seed) for seed in range(20))]

    for number, pieces in enumerate(cuts):
        one, other = both(pieces)
        assert other.messages == one.messages, f"cut {number}"
        assert one.messages
        assert not one.failed
        assert not other.failed


def test_a01_a14_the_corpus_byte_by_byte_and_cut() -> None:
    """What httptools refuses is refused; what it takes is taken alike, but for what the door refuses."""
    apart = {}
    for case in CASES:
        data = b"".join(case.pieces)
        if len(data) > 20_000 or data.startswith(b"CONNECT"):
            continue
        for pieces in ([data], [bytes([byte]) for byte in data], cut(data, len(data))):
            one, other = both(pieces)
            if one.failed and not other.failed:
                apart[case.name] = "taken by h11 alone"
            elif not one.failed and other.messages != one.messages and not refused_anyway(case):
                apart[case.name] = "read differently"

    assert apart == {}


def refused_anyway(case: Case) -> bool:
    return bool(case.answers) and case.answers[0][0] == ANSWERED_BY_THE_DOOR


@pytest.mark.parametrize("case", [*HOSTS, *SIZES], ids=lambda case: case.name)
def test_hosts_and_sizes_are_for_the_door_to_judge(case: Case) -> None:
    """h11 refuses some itself, never one that is fine."""
    if case.answers == ((200, None),):
        one, other = both(list(case.pieces))
        assert other.messages == one.messages


def test_a_request_that_is_not_whole_is_told_as_far_as_it_goes() -> None:
    told = Told(H11Parser)

    told.feed(b"POST /v1/a")
    assert told._url == b"/v1/a"
    told.feed(b"b HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n\r\n3e\r\n" + BODY[:9])

    assert told._url == b"/v1/ab"
    assert told._body == BODY[:9]
    assert told.messages == []
