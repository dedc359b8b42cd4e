"""Amazon Bedrock: the model stands in the path, and each request is signed (SigV4) by botocore.

Facts: Amazon Bedrock API reference, Converse and ConverseStream, `POST /model/{modelId}/converse`; AWS
"Signature Version 4": service `bedrock`, the host, the body's hash and the time are part of what is signed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote, urlsplit, urlunsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from llmgw.config.providers import Bedrock as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import BEDROCK, CONVERSE, CONVERSE_STREAM
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head

_SERVICE = "bedrock"
_SIGNED = ("host", "content-type")
_ADDED = ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")
_PLAIN = re.compile(r"[\x21-\x7e]+")


class SigV4:
    """Implements `ports.provider.Signer`. url: the base URL of what is signed for."""

    def __init__(self, url: str, region: str, credentials: Credentials) -> None:
        self._scheme = urlsplit(url).scheme
        self._region = region
        self._credentials = credentials

    def pending(self) -> None:
        """Nothing ever is: the settings hold the keys."""

    def sign(self, head: bytes, body: bytes) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        rows = (line.partition(":") for line in lines)
        fields = {name: value.strip() for name, _, value in rows if name in _SIGNED}
        url = urlunsplit((self._scheme, fields["host"], target, "", ""))
        request = AWSRequest(method, url, headers=fields, data=body)
        SigV4Auth(self._credentials, _SERVICE, self._region).add_auth(request)
        added = "".join(
            f"{name.lower()}: {request.headers[name]}\r\n" for name in _ADDED if name in request.headers
        )
        return head + added.encode("latin-1")


class Bedrock:
    """Implements `ports.provider.Provider`."""

    kind = "bedrock"
    vendor: str | None = None
    transport: Transport | None = None
    forwards: tuple[bytes, ...] = ()

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        """api_key: there is none; the settings hold the credentials."""
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.allow_private)
        self._url = settings.url
        token = settings.session_token
        self._credentials = Credentials(
            settings.access_key_id.get_secret_value(),
            settings.secret_access_key.get_secret_value(),
            token.get_secret_value() if token is not None else None,
        )
        self.signer: Signer | None = SigV4(settings.url, settings.region, self._credentials)

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != BEDROCK:
            return None
        for shown in (self._credentials.access_key, self._credentials.token):
            if shown is not None and _PLAIN.fullmatch(shown) is None:
                raise ValueError("the access key or the session token has a character no header can carry")
        # An ARN has slashes, and where every name is passed on the model is the caller's word.
        suffix = f"/model/{quote(model, safe='')}{endpoint.suffix}"
        return request_head(self._url, replace(endpoint, suffix=suffix), content_type, ())

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        if operation is not Operation.CHAT:
            return None
        return CONVERSE_STREAM if streamed else CONVERSE

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Never: usage comes unasked."""
        return False
