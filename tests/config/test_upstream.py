"""What the settings of every upstream share."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from llmgw.config.upstream import Reach, Service, is_proxy_url


@pytest.mark.parametrize("url", ["http://p:3128", "http://u:p@proxy.internal:3128/", "http://[::1]:8080"])
def test_proxy_urls(url: str) -> None:
    assert is_proxy_url(url)


@pytest.mark.parametrize(
    "url", ["p:3128", "https://p", "http://", "http://p:0", "http://p/x", "http://[::1", "http://p:x"]
)
def test_not_proxy_urls(url: str) -> None:
    assert not is_proxy_url(url)


def test_a_slash_at_the_end_is_nothing() -> None:
    assert (
        Service.model_validate({"base_url": "https://api.example.com/v1/"}).url
        == "https://api.example.com/v1"
    )


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"base_url": "ftp://x"}, "must start with http:// or https://"),
        ({"base_url": "https://u:p@x"}, "must hold no user or password"),
        ({"base_url": "https://x?a=1"}, "must hold no query"),
        ({"base_url": "https://x y"}, "is not a URL"),
        ({"base_url": "https://x:0"}, "port 0 is not a port"),
        ({"base_url": "http://10.0.0.1"}, "10.0.0.1 is not a public host; add allow_private: true"),
        ({"base_url": "https://x", "proxy": "socks5://p"}, "must look like http://host:port"),
    ],
)
def test_what_cannot_be_reached(members: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Service.model_validate(members)


def test_a_key_needs_its_certificate() -> None:
    with pytest.raises(ValidationError, match="needs client_cert"):
        Reach.model_validate({"client_key": "k.pem"})
