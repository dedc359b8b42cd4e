"""Signatures of AWS, version 4, made by botocore.

Facts: AWS "Signature Version 4": the service, the host, the body's hash and the time are part of what is
signed.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

_SIGNED = ("host", "content-type")
_ADDED = ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")


class Keys(Protocol):
    """Where the keys come from. value: botocore's credentials; None before the first."""

    value: Any

    def begin(self) -> None:
        """Get them, before the first request."""

    def pending(self) -> Awaitable[None] | None:
        """What to wait for before `value` can be used."""


class Given:
    """Keys that the settings hold. Implements `Keys`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def begin(self) -> None:
        """Nothing to get."""

    def pending(self) -> None:
        """Nothing ever is."""


class SigV4:
    """Implements `ports.provider.Signer`. url: the base URL of what is signed for."""

    def __init__(self, url: str, region: str, service: str, keys: Keys) -> None:
        self._scheme = urlsplit(url).scheme
        self._region = region
        self._service = service
        self._keys = keys
        self.begin = keys.begin
        self.pending = keys.pending

    def sign(self, head: bytes, body: bytes) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        rows = (line.partition(":") for line in lines)
        fields = {name: value.strip() for name, _, value in rows if name in _SIGNED}
        url = urlunsplit((self._scheme, fields["host"], target, "", ""))
        request = AWSRequest(method, url, headers=fields, data=body)
        SigV4Auth(self._keys.value, self._service, self._region).add_auth(request)
        added = "".join(
            f"{name.lower()}: {request.headers[name]}\r\n" for name in _ADDED if name in request.headers
        )
        return head + added.encode("latin-1")
