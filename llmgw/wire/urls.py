"""URLs of upstreams: read once at load, and never steered by a client.

A client's path is appended to a base that the operator wrote. Servers differ in how they decode
and collapse paths, so one that could mean two things is refused rather than cleaned: dot
segments, empty segments, backslashes, encoded slashes, a second level of encoding, parameters
after `;`, and everything that has a meaning in another part of a URL. What remains is written
anew from its decoded form, so the bytes that were checked are the bytes that are sent.

Promise: what `join_url_path` gives starts with the base path, whatever the client sent.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_to_bytes

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE_IN_SEGMENT = "-._~!$&'()*+,=:"
_HIDDEN = "***"

_raw_path = re.compile(r"(?:[A-Za-z0-9/!$&'()*+,=:._~-]|%[0-9A-Fa-f]{2})*")
_not_in_segment = re.compile(r"[\x00-\x1f\x7f-\x9f/\\%;@?#]")
_url = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(/.*)?")
_authority = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?")
_host = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_user_info = re.compile(r"(?<=//)[^/?#]*@")
_parameter = re.compile(r"([?&;#])([^=&;#]*)=([^&;#]*)")

_SECRET_PARAMETERS = frozenset(
    {
        "access_token",
        "api-key",
        "api_key",
        "apikey",
        "auth",
        "client_secret",
        "code",
        "id_token",
        "key",
        "password",
        "refresh_token",
        "secret",
        "sig",
        "signature",
        "subscription-key",
        "token",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-signature",
        "x-goog-credential",
        "x-goog-signature",
    }
)


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Where an upstream is.

    host: lower case, an IPv6 address without its brackets.
    path: "" or a path that starts with a slash and does not end with one.
    authority: as the Host header wants it; the scheme's own port is left out.
    """

    scheme: str
    host: str
    port: int
    path: str
    authority: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_base_url(url: str) -> BaseUrl:
    """Read an upstream's base URL. Raises ValueError, whose message repeats no credential."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("a base URL is printable ASCII without spaces or backslashes")
    if "?" in url or "#" in url:
        raise ValueError("a base URL has no query and no fragment")
    match = _url.fullmatch(url)
    if match is None:
        raise ValueError("a base URL looks like https://host[:port][/path]")
    scheme = match[1].lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError(f"a base URL begins with http:// or https://, not {scheme}://")
    if "@" in match[2]:
        raise ValueError("a base URL carries no user name and no password")
    authority = _authority.fullmatch(match[2])
    if authority is None:
        raise ValueError("the base URL's host is not readable; an IPv6 address goes in brackets")
    host = _parse_host(authority[1])
    default = _DEFAULT_PORTS[scheme]
    port = default if authority[2] is None else _parse_port(authority[2])
    shown = f"[{host}]" if ":" in host else host
    if port != default:
        shown = f"{shown}:{port}"
    path = (match[3] or "").removesuffix("/")
    if path:
        path = "/" + "/".join(checked_segments(path))
    return BaseUrl(scheme, host, port, path, shown)


def _parse_host(text: str) -> str:
    if text.startswith("["):
        try:
            address = ipaddress.IPv6Address(text[1:-1])
        except ValueError:
            raise ValueError("the base URL's host is not an IPv6 address") from None
        if address.scope_id is not None:
            raise ValueError("the base URL's host has an IPv6 zone")
        return str(address)
    host = text.lower()
    if len(host) > 253 or not _host.fullmatch(host):
        raise ValueError("the base URL's host is not a host name or an address")
    return host


def _parse_port(text: str) -> int:
    if not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise ValueError("the base URL's port is not between 1 and 65535")
    return int(text)


def checked_segments(path: str | bytes) -> tuple[str, ...]:
    """The segments of a client's path, encoded as they may be sent.

    path: without query. A leading slash changes nothing; "" and "/" have no segments.
    Raises ValueError when the path could be read in more than one way.
    """
    if isinstance(path, bytes):
        path = path.decode("latin-1")
    if not _raw_path.fullmatch(path):
        raise ValueError("the path has a character that is not allowed there")
    path = path.removeprefix("/")
    if not path:
        return ()
    return tuple(map(_checked_segment, path.split("/")))


def _checked_segment(raw: str) -> str:
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise ValueError("the path is not valid UTF-8") from None
    # A server that normalises Unicode would see a slash or a dot in its full-width forms.
    folded = text if text.isascii() else unicodedata.normalize("NFKC", text)
    if _not_in_segment.search(text) or _not_in_segment.search(folded):
        raise ValueError("the path has an encoded character that is not allowed there")
    if not folded.strip(". "):
        raise ValueError("the path has an empty or dot segment")
    return quote(text, safe=_SAFE_IN_SEGMENT)


def join_url_path(base_path: str, suffix: str | bytes) -> str:
    """`base_path` followed by a client's path, which cannot leave it.

    base_path: a `BaseUrl.path`, the operator's own; not checked again.
    Raises ValueError when the client's path could be read in more than one way.
    """
    segments = checked_segments(suffix)
    base = base_path.removesuffix("/")
    return f"{base}/{'/'.join(segments)}" if segments else base or "/"


def redact_url(url: str) -> str:
    """`url` for a log: without credentials in its query, its fragment or before its host."""
    return _parameter.sub(_redacted, _user_info.sub(f"{_HIDDEN}@", url))


def _redacted(match: re.Match[str]) -> str:
    name = unquote(match[2]).strip().lower()
    value = _HIDDEN if name in _SECRET_PARAMETERS else match[3]
    return f"{match[1]}{match[2]}={value}"
