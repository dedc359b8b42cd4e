"""What a client's connection may cost, and which requests are refused before anybody is asked.

The parsers differ in what they let through. What is decided here is decided once for all of them:
one `Host` that is a host, a length or `chunked` but nothing else, a target that cannot be read in
two ways, and no header that only the operator's own proxies may write.

Facts: RFC 9110 sections 4.2.3 (no user in a URL), 7.2 (Host) and 7.8 (Upgrade), RFC 9112
sections 3.2 (forms of a target) and 6 (framing).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from itertools import chain, product
from typing import TYPE_CHECKING, Protocol, Self

from llmgw.core.errors import GatewayError, Unavailable
from llmgw.wire.forwarded import Network, is_in, parse_address

if TYPE_CHECKING:
    from llmgw.server.direct import DirectClient

_IDENTITY = (
    "client-cert",
    "client-cert-chain",
    "forwarded",
    "remote-user",
    "ssl-client-cert",
    "ssl-client-s-dn",
    "ssl-client-verify",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-user",
    "x-authenticated-user",
    "x-client-cert",
    "x-client-dn",
    "x-client-verify",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-for",
    "x-forwarded-groups",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-user",
    "x-real-ip",
    "x-remote-user",
    "x-ssl-cert",
    "x-ssl-client-cert",
    "x-ssl-client-cn",
    "x-ssl-client-dn",
    "x-ssl-client-fingerprint",
    "x-ssl-client-i-dn",
    "x-ssl-client-issuer",
    "x-ssl-client-s-dn",
    "x-ssl-client-serial",
    "x-ssl-client-subject",
    "x-ssl-client-verify",
    "x-tenant",
    "x-user",
)
IDENTITY_FIELDS = frozenset(name.encode() for name in _IDENTITY)
"""Who somebody is according to a proxy."""
CERTIFICATE_FIELDS = frozenset(
    name
    for name in IDENTITY_FIELDS
    if name.startswith((b"client-cert", b"ssl-client", b"x-client-", b"x-forwarded-client-cert", b"x-ssl-"))
)
"""Of those, what it says of a client's certificate."""
WATCHED_FIELDS = frozenset(
    "".join(chain.from_iterable(zip(name.split("-"), (*marks, ""), strict=True))).encode()
    for name in _IDENTITY
    for marks in product("-_.", repeat=name.count("-"))
)
"""Those, and the spellings that CGI and WSGI read as the same, which no proxy writes."""
PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})
"""What `Connection` says in almost every request."""
_GUARDED = IDENTITY_FIELDS | {
    b"api-key",
    b"authorization",
    b"content-length",
    b"cookie",
    b"host",
    b"idempotency-key",
    b"proxy-authorization",
    b"transfer-encoding",
    b"x-api-key",
    b"x-goog-api-key",
}
"""What a proxy in between must not be made to drop. (CVE-2022-31813, CVE-2024-45410)"""

_HOST = re.compile(
    rb"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63}){0,126}\.?|\[([0-9A-Fa-f:.]{2,45})\])"
    rb"(?::([0-9]{0,5}))?"
)
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(/[^#]*|)", re.IGNORECASE)
PACE_S = 10.0
PACE_BYTES = 10 * 1024
"""A body that brings less in that time has stopped."""
LARGE_BODY = 1024 * 1024
"""From here on a body is counted in `Bodies`."""
_ROOM_IN_S = 1
_V6_PREFIX = 64
"""One IPv6 customer has at least a /64. (RFC 6177)"""


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """What a client's connection may cost. Bytes, and seconds. trusted: the operator's own proxies."""

    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    write_idle_s: float = 30.0
    keep_alive_s: float = 75.0
    max_headers: int = 100
    max_header_bytes: int = 32 * 1024
    max_url: int = 8 * 1024
    max_body: int = 32 * 1024 * 1024
    connections_per_ip: int = 100
    trusted: Sequence[Network] = ()
    max_bodies: int = 512 * 1024 * 1024
    """Of the large bodies under way in one process together."""


class Bodies:
    """What the large bodies under way take of memory. limit: in bytes."""

    def __init__(self, limit: int) -> None:
        self.held = 0
        self._limit = limit

    def take(self, size: int) -> None:
        """Raises Unavailable when there is no room; nothing is taken then."""
        if self.held + size > self._limit:
            raise Unavailable(
                "too many large requests are under way", code="overloaded", retry_after_s=_ROOM_IN_S
            )
        self.held += size

    def stay(self, size: int) -> None:
        """What was taken for a connection stays taken when that has ended."""
        self.held += size

    def give(self, size: int) -> None:
        """What was taken is free again."""
        self.held -= size


class LargeBody:
    """What one body takes of `bodies` until the `with` block is left."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._held = 0

    def grow_to(self, size: int) -> None:
        """Raises Unavailable when there is no room for so much."""
        if size > LARGE_BODY:
            self._bodies.take(size - self._held)
            self._held = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.give(self._held)


class Door(Protocol):
    """What the protocol hands requests to."""

    draining: bool
    crowded: bool
    limits: FrontDoor
    bodies: Bodies

    @property
    def certificate_field(self) -> bytes | None:
        """The header in which trusted proxies may tell of certificates."""

    def begin(self, client: DirectClient) -> None:
        """A request is whole: its headers in `fields`, its body in `body`."""

    def refuse(self, client: DirectClient, error: GatewayError) -> None:
        """A request cannot be read to its end."""

    def refuse_head(self, path: str, error: GatewayError) -> bytes:
        """The response to a head that is not read to its end; it is logged and counted."""

    def date(self) -> bytes:
        """The current `date` header line."""

    def admits(self, peer: str | None) -> bool:
        """Whether one more connection from `peer` is taken; if so it is counted until `gone`."""

    def gone(self, peer: str | None) -> None:
        """A connection that was admitted has ended."""


def framing_problem(fields: Mapping[bytes, bytes], version: str) -> str | None:
    """Why it is not certain where a request ends or whom it is for; None when it is."""
    if version not in ("1.0", "1.1"):
        return f"HTTP/{version} is not spoken here; use HTTP/1.1"
    host = fields.get(b"host")
    if host is None:
        if version == "1.1":
            return "there is no Host header"
    elif not is_host(host):
        return "there must be one Host header, and it must be a host"
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if coding.lower() != b"chunked" or version == "1.0":
            return "the only Transfer-Encoding is chunked, of HTTP/1.1"
        if b"content-length" in fields:
            return "there are both Content-Length and Transfer-Encoding"
    return None


def target_problem(method: bytes, target: bytes, host: bytes | None) -> str | None:
    """Why a request target cannot be routed by; None when it can.

    A URL with a host of its own must name the one in `Host`: whoever routes in front of us may
    have gone by either.
    """
    if method == b"CONNECT":
        return "this is no proxy for other hosts"
    if target.startswith(b"/"):
        return "a request target has no fragment" if b"#" in target else None
    if target == b"*":
        return None if method == b"OPTIONS" else "only OPTIONS has the target *"
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        return "the request target must be a path"
    if not is_host(found[1]) or found[1].lower() != (host or b"").lower():
        return "the URL in the request line and the Host header differ"
    return None


def connection_problem(value: bytes) -> str | None:
    """Why a `Connection` header is refused: it would have a proxy drop a field that decides."""
    for name in value.split(b","):
        if name.strip().lower() in _GUARDED:
            return f"Connection must not name {name.strip().decode('latin-1')}"
    return None


def alias_problem(names: Iterable[bytes]) -> str | None:
    """Why a header's name is refused: others would read it as one that says who somebody is."""
    for name in names:
        if name in WATCHED_FIELDS and name not in IDENTITY_FIELDS:
            return f"there is no header {name.decode('latin-1')} here, and it reads like one of a proxy"
    return None


def is_host(text: bytes) -> bool:
    """Whether this is a name or an address, with or without a port."""
    found = _HOST.fullmatch(text)
    if found is None or int(found[2] or 0) > 65535:
        return False
    if found[1] is None:
        return len(text) <= 260
    try:
        IPv6Address(found[1].decode())
    except ValueError:
        return False
    return True


def is_trusted(peer: str | None, trusted: Sequence[Network]) -> bool:
    """Whether the other end of a connection is one of the operator's proxies."""
    if peer is None or not trusted:
        return False
    address = parse_address(peer)
    return address is not None and is_in(address, trusted)


def holder_of(peer: str) -> str:
    """Whose connections those of an address count as: an IPv6 customer has a whole network."""
    if ":" not in peer:
        return peer
    address = parse_address(peer)
    if address is None or address.version == 4 or address.is_loopback:
        return str(address or peer)
    return f"{address.exploded[:19]}::/{_V6_PREFIX}"
