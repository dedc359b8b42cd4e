"""An issuer of tokens, its keys on a real HTTP server in a thread of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

KEYS = "/keys"
INTROSPECT = "/introspect"
DISCOVERY = "/.well-known/openid-configuration"

Reply = tuple[int, Mapping[str, str], bytes]


def private_key(name: str, kind: str = "RS256") -> Any:
    """The same key for the same name and kind."""
    return _made(name, "RSA" if kind[0] in "RP" else kind)


@cache
def _made(name: str, kind: str) -> Any:
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(
        {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[kind]()
    )


def public_jwk(name: str, kind: str = "RS256", **more: object) -> dict[str, Any]:
    """What an issuer publishes of it, under the id `name`."""
    public = private_key(name, kind).public_key()
    algorithm = {"E": ECAlgorithm, "O": OKPAlgorithm, "R": RSAAlgorithm}[
        "O" if kind == "EdDSA" else "R" if kind[0] in "RP" else "E"
    ]
    return {**algorithm.to_jwk(public, as_dict=True), "kid": name, "use": "sig", **more}


def claims(issuer: str = "https://issuer.test/", now: float | None = None, **more: object) -> dict[str, Any]:
    """What a good token says, with some claims set, and those that are None left out."""
    now = time.time() if now is None else now
    good = {"iss": issuer, "aud": "llmgw", "sub": "alice", "org": "acme", "iat": now, "exp": now + 300}
    return {name: value for name, value in {**good, **more}.items() if value is not None}


def signed(said: Mapping[str, Any], name: str = "one", kind: str = "RS256", **header: object) -> str:
    """A token signed with the private key of that name."""
    fields = {"kid": name, **header}
    return jwt.encode(
        dict(said),
        private_key(name, kind),
        kind,
        {one: each for one, each in fields.items() if each is not None},
    )


class FakeIssuer:
    """keys: what it publishes. reply: by path, instead of what it would say.

    requests: the paths that were asked for, in order. opaque: what it says of each opaque token.
    forms: the bodies it was sent, and under which authorization.
    """

    def __init__(self) -> None:
        self.keys = [public_jwk("one")]
        self.reply: dict[str, Reply | Callable[[], Reply]] = {}
        self.requests: list[str] = []
        self.opaque: dict[str, dict[str, Any]] = {}
        self.forms: list[tuple[dict[str, list[str]], str | None]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, name: str = "one", kind: str = "RS256", **more: object) -> str:
        """A good token, with some claims set."""
        return signed(claims(self.url, **more), name, kind)

    def settings(self, **more: object) -> str:
        """How an operator writes it down."""
        said = {
            "issuer": self.url,
            "audience": "llmgw",
            "allow_private": True,
            "claims": {"tenant": "org"},
            **more,
        }
        return json.dumps({name: value for name, value in said.items() if value is not None})

    def answer(self, path: str) -> Reply:
        """What it says to a GET."""
        self.requests.append(path)
        reply = self.reply.get(path)
        if reply is not None:
            return reply() if callable(reply) else reply
        if path == KEYS:
            return 200, {}, json.dumps({"keys": self.keys}).encode()
        if path == DISCOVERY:
            return 200, {}, json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}{KEYS}"}).encode()
        if path == INTROSPECT:
            said = self.opaque.get(self.forms[-1][0]["token"][0], {"active": False})
            return 200, {}, json.dumps(said).encode()
        return 404, {}, b""


@contextmanager
def running_issuer() -> Iterator[FakeIssuer]:
    issuer = FakeIssuer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = issuer.answer(self.path)
            try:
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionResetError:
                self.close_connection = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            issuer.forms.append((parse_qs(body), self.headers["authorization"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    issuer.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
