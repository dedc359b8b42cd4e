"""A client's path stays under the operator's base; a base URL is read strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.wire.urls import BaseUrl, checked_segments, join_url_path, parse_base_url, redact_url

CLIMBING = [
    "/../admin",
    "/..",
    "..",
    ".",
    "/.",
    "/./x",
    "/a/../b",
    "/a/./b",
    "/a/..",
    "/..%2f",
    "/..%2fadmin",
    "/..%2Fadmin",
    "/a%2fb",
    "/%2f",
    "/%2e%2e/",
    "/%2e%2e/admin",
    "/%2E%2E/admin",
    "/.%2e/admin",
    "/%2e./admin",
    "/%2e",
    "/%252e%252e/",
    "/%252e%252e%252fadmin",
    "/%25%32%65",
    "/a%252fb",
    "/a%25",
    "/..;/",
    "/..;/admin",
    "/..;a=b/admin",
    "/a;b=c",
    "/a%3bb",
    "//host/",
    "//host/x",
    "///x",
    "/a//b",
    "/a/",
    "/\\host",
    "/..\\admin",
    "\\..\\admin",
    "/..%5cadmin",
    "/a%5Cb",
    "/a?b=c",
    "/a%3fb",
    "/a#b",
    "/a%23b",
    "/@host/",
    "/user@host",
    "/a%40host",
    "@host",
    "http://host/x",
    "/a\r\nHost: x",
    "/a%0d%0aHost:%20x",
    "/a%00b",
    "/a\x00b",
    "/a%7fb",
    "/a%09b",
    "/a b",
    "/.%20",
    "/..%20/x",
    "/%20",
    "/...",
    "/a%",
    "/a%2",
    "/a%zz",
    "/a%u002e",
    "/%c0%ae%c0%ae/",
    "/a%c0%afb",
    "/%ff",
    "/é",
    "/%ef%bc%8e%ef%bc%8e/x",
    "/a%ef%bc%8fb",
    "/%e2%80%a4%e2%80%a4/x",
    "/a%c2%85b",
]


@pytest.mark.parametrize("suffix", CLIMBING)
def test_e08_path_with_two_meanings_is_refused(suffix: str) -> None:
    """Sixty and more ways to climb, each refused, as text and as bytes."""
    with pytest.raises(ValueError, match="the path"):
        join_url_path("/openai/v1", suffix)
    with pytest.raises(ValueError, match="the path"):
        join_url_path("/openai/v1", suffix.encode())


@given(st.text("./%25eEfFcC;\\?#@:ab \r\n\x00é", max_size=24))
def test_e08_joined_path_starts_with_the_base(suffix: str) -> None:
    """Whatever gets through is under the base, and checking it again changes nothing."""
    try:
        joined = join_url_path("/base/v1", suffix)
    except ValueError:
        return

    assert joined == "/base/v1" or joined.startswith("/base/v1/")
    assert join_url_path("", joined) == joined
    assert not {"", ".", ".."} & set(joined.split("/")[1:])


@pytest.mark.parametrize(
    ("suffix", "segments"),
    [
        ("", ()),
        ("/", ()),
        ("/v1/models", ("v1", "models")),
        (b"v1/files/file-abc123", ("v1", "files", "file-abc123")),
        ("/models/gemini-2.5-pro:generateContent", ("models", "gemini-2.5-pro:generateContent")),
        ("/models/ft%3Agpt-4o:acme", ("models", "ft:gpt-4o:acme")),
        ("/a..b/.well-known", ("a..b", ".well-known")),
        ("/caf%c3%a9%20au%20lait", ("caf%C3%A9%20au%20lait",)),
    ],
)
def test_honest_paths_pass(suffix: str | bytes, segments: tuple[str, ...]) -> None:
    """What has one meaning passes, written in one way."""
    assert checked_segments(suffix) == segments


@pytest.mark.parametrize(
    ("base", "suffix", "joined"),
    [
        ("", "/v1/models", "/v1/models"),
        ("/", "v1", "/v1"),
        ("/api/", "/v1", "/api/v1"),
        ("/api", "", "/api"),
        ("", "", "/"),
    ],
)
def test_join(base: str, suffix: str, joined: str) -> None:
    """Base and suffix meet in exactly one slash."""
    assert join_url_path(base, suffix) == joined


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com/v1", BaseUrl("https", "api.openai.com", 443, "/v1", "api.openai.com")),
        ("https://api.openai.com", BaseUrl("https", "api.openai.com", 443, "", "api.openai.com")),
        ("HTTPS://API.OpenAI.com:443/", BaseUrl("https", "api.openai.com", 443, "", "api.openai.com")),
        ("http://10.0.0.7:8000/v1/", BaseUrl("http", "10.0.0.7", 8000, "/v1", "10.0.0.7:8000")),
        ("http://[::1]:11434", BaseUrl("http", "::1", 11434, "", "[::1]:11434")),
        ("http://[2001:DB8::0:1]/x", BaseUrl("http", "2001:db8::1", 80, "/x", "[2001:db8::1]")),
        ("http://ollama_1:80", BaseUrl("http", "ollama_1", 80, "", "ollama_1")),
    ],
)
def test_base_url(url: str, expected: BaseUrl) -> None:
    """Host, port, path and the Host header's text, in one form."""
    parsed = parse_base_url(url)

    assert parsed == expected
    assert parse_base_url(str(parsed)) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("api.openai.com/v1", "looks like"),
        ("https:/host", "looks like"),
        ("", "looks like"),
        ("https://", "host name"),
        ("https:///v1", "host name"),
        ("https://user:hunter2@host/v1", "no user name"),
        ("https://host\\@evil/", "backslashes"),
        ("https://host/v1?api-version=1", "no query"),
        ("https://host/v1#x", "no fragment"),
        ("https://host:0", "port"),
        ("https://host:65536", "port"),
        ("https://host:", "port"),
        ("https://host:8o", "port"),
        ("https://host:1:2", "port"),
        ("https://::1/", "not readable|port|host"),
        ("https://[::1", "not readable"),
        ("https://[1.2.3.4]", "not an IPv6"),
        ("https://[fe80::1%eth0]", "zone"),
        ("https://a..b", "host name"),
        ("https://-a", "host name"),
        ("https://höst", "printable ASCII"),
        ("https://host/a b", "printable ASCII"),
        ("https://host\n/x", "printable ASCII"),
        ("https://host/a/../b", "dot segment"),
        ("https://host//v1", "dot segment"),
    ],
)
def test_base_url_refused(url: str, reason: str) -> None:
    """What could be read in two ways is refused, without repeating a password."""
    with pytest.raises(ValueError, match=reason) as caught:
        parse_base_url(url)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/v1beta/models?key=abc", "/v1beta/models?key=***"),
        ("/x?alt=sse&key=abc&n=1", "/x?alt=sse&key=***&n=1"),
        ("/x?api_key=abc;token=def", "/x?api_key=***;token=***"),
        ("https://h/x?sv=1&sig=a%2Fb%3D", "https://h/x?sv=1&sig=***"),
        ("/x?KEY=abc", "/x?KEY=***"),
        ("/x?%6bey=abc", "/x?%6bey=***"),
        ("/x?key=a=b", "/x?key=***"),
        ("/x?key=a?b&key=c", "/x?key=***&key=***"),
        ("/x#access_token=abc", "/x#access_token=***"),
        ("redis://user:pass@cache:6379/0", "redis://***@cache:6379/0"),
        ("/x?monkey=1&keys=2", "/x?monkey=1&keys=2"),
        ("/x", "/x"),
    ],
)
def test_redact_url(url: str, shown: str) -> None:
    """Credentials in a URL are hidden, whatever their spelling; the rest stays readable."""
    assert redact_url(url) == shown
