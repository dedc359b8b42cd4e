"""A whole answer that the gateway gives by itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """head: header lines, each ended by CRLF, without framing."""

    status: int
    head: bytes
    body: bytes
