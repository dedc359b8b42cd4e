"""Requests as a proxy reads them."""

from __future__ import annotations

import pytest

from llmgw.ports.transport import Origin
from llmgw.transport.proxy import HttpProxy


@pytest.mark.parametrize(
    ("host", "authority"), [("api.example", b"api.example:81"), ("2001:db8::1", b"[2001:db8::1]:81")]
)
def test_absolute_form(host: str, authority: bytes) -> None:
    """Scheme and authority before the path; IPv6 in brackets."""
    proxy = HttpProxy("http://p:3128", Origin("http", host, 81))

    assert proxy.absolute(b"POST /a?b HTTP/1.1\r\nx: y\r\n") == (
        b"POST http://" + authority + b"/a?b HTTP/1.1\r\nx: y\r\n"
    )


def test_credentials_are_decoded_once() -> None:
    """A URL escapes what a header does not."""
    proxy = HttpProxy("http://user%3A:p%40ss@p", Origin("https", "api.example", 443))

    assert (proxy.host, proxy.port) == ("p", 80)
    assert b"proxy-authorization: Basic dXNlcjo6cEBzcw==\r\n" in proxy.connect()
