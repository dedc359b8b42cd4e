"""What every provider promises."""

from __future__ import annotations

import pytest

from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import ENDPOINTS, OPENAI
from llmgw.ports.provider import Provider

FOREIGN = Endpoint("/x", "a dialect nobody speaks", Operation.CHAT, "/x", stream_usage=True)
JSON = b"application/json"
PATHS = [path for path, endpoint in ENDPOINTS.items() if endpoint.dialect == OPENAI]


class ProviderContract:
    """A subclass gives the fixture `provider`, named `configured-name`."""

    def test_it_says_who_it_is(self, provider: Provider) -> None:
        assert provider.name == "configured-name"
        assert provider.kind
        assert provider.origin.host

    @pytest.mark.parametrize("path", PATHS)
    def test_head_is_what_a_transport_takes(self, provider: Provider, path: str) -> None:
        """Lines ended by CRLF, neither framing headers nor the blank line."""
        head = provider.head(ENDPOINTS[path], "some-model", JSON)

        assert head is not None
        request_line, *fields, last = head.split(b"\r\n")
        method, target, version = request_line.split(b" ")
        assert (method, version, last) == (b"POST", b"HTTP/1.1", b"")
        assert target.endswith(ENDPOINTS[path].suffix.encode())
        names = [field.partition(b":")[0] for field in fields]
        assert all(names)
        assert len(names) == len(set(names))
        assert not {b"content-length", b"transfer-encoding", b"connection"} & set(names)

    def test_foreign_dialect_is_not_served(self, provider: Provider) -> None:
        assert provider.head(FOREIGN, "some-model", JSON) is None

    @pytest.mark.parametrize("content_type", [b"a/b\r\nx-evil: 1", b"a/b\nx-evil: 1", b"a/b\0x-evil: 1"])
    def test_content_type_cannot_add_a_header(self, provider: Provider, content_type: bytes) -> None:
        """It is refused, unless the provider has no use for it."""
        try:
            head = provider.head(ENDPOINTS["/v1/chat/completions"], "some-model", content_type)
        except ValueError:
            return
        assert head is not None
        assert b"x-evil" not in head

    @pytest.mark.parametrize("path", PATHS)
    def test_usage_is_asked_for_only_where_the_wire_has_it(self, provider: Provider, path: str) -> None:
        if not ENDPOINTS[path].stream_usage:
            assert not provider.stream_usage(ENDPOINTS[path])
