"""What providers that are reached over HTTP have in common: where they are, and their heads."""

from __future__ import annotations

import re

from llmgw import __version__
from llmgw.config.upstream import Reach
from llmgw.core.operation import Endpoint
from llmgw.ports.transport import Origin
from llmgw.wire.urls import parse_base_url

_FIELD_VALUE = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")


def origin(url: str, reach: Reach, *, allow_private: bool) -> Origin:
    """Where connections to `url` go."""
    base = parse_base_url(url)
    return Origin(
        base.scheme,
        base.host,
        base.port,
        proxy=reach.proxy.get_secret_value() if reach.proxy is not None else None,
        ca=str(reach.ca) if reach.ca is not None else None,
        client_cert=str(reach.client_cert) if reach.client_cert is not None else None,
        client_key=str(reach.client_key) if reach.client_key is not None else None,
        allow_private=allow_private,
    )


def request_head(
    url: str, endpoint: Endpoint, content_type: bytes, fields: tuple[tuple[str, str], ...]
) -> bytes:
    """Request line and headers of a POST to `endpoint` below the base URL `url`.

    Raises ValueError, naming the header and not its value, when it cannot be sent as it is: it
    would break out of its line, or is empty.
    """
    base = parse_base_url(url)
    rows = (
        ("host", base.authority),
        *fields,
        ("content-type", content_type.decode("latin-1")),
        ("accept-encoding", "identity"),
        ("user-agent", f"llmgw/{__version__}"),
    )
    lines = [f"POST {base.path}{endpoint.suffix} HTTP/1.1"]
    for name, value in rows:
        if _FIELD_VALUE.fullmatch(value) is None:
            raise ValueError(f"the value for the header {name} is empty or has a character it cannot carry")
        lines.append(f"{name}: {value}")
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")
