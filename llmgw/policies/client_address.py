"""Which address a request is counted under."""

from __future__ import annotations

from collections.abc import Sequence

from llmgw.core.exchange import Exchange
from llmgw.wire.forwarded import Network, client_address, is_in

_REMEMBERED = 16_384
_V6_PREFIX = 64
"""One IPv6 customer has at least a /64, so single addresses there count nobody. (RFC 6177)"""


class ClientAddress:
    """trusted: the operator's proxies. exempt: networks that are not counted."""

    def __init__(self, trusted: Sequence[Network], exempt: Sequence[Network]) -> None:
        self._trusted = trusted
        self._exempt = exempt
        self._remembered: dict[tuple[str, bytes | None], str | None] = {}

    def subject(self, ex: Exchange) -> str | None:
        """What the caller's address is counted as; None when it is exempt or not known."""
        peer = ex.peer
        if peer is None:
            return None
        forwarded_for = ex.fields.get(b"x-forwarded-for") if self._trusted else None
        try:
            return self._remembered[peer, forwarded_for]
        except KeyError:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            subject = self._remembered[peer, forwarded_for] = self._subject(peer, forwarded_for)
            return subject

    def _subject(self, peer: str, forwarded_for: bytes | None) -> str | None:
        address = client_address(peer, forwarded_for, self._trusted)
        if address is None or is_in(address, self._exempt):
            return None
        if address.version == 4:
            return str(address)
        return f"{address.exploded[:19]}::/{_V6_PREFIX}"
