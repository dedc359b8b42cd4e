"""Reads an answer that came as one JSON document."""

from __future__ import annotations

from llmgw.core.errors import UpstreamMalformed
from llmgw.dialects.taps import WholeTap, body_tap
from llmgw.engine.relay import Relay

_SAMPLE = 200


def read_body(relay: Relay) -> WholeTap:
    """The usage of a gathered answer. Raises UpstreamMalformed when it is not JSON."""
    tap: WholeTap
    if relay.across is not None:
        tap = relay.across.whole(relay.body)
    else:
        try:
            tap = body_tap(relay.endpoint, relay.body)
        except ValueError as error:
            raise UpstreamMalformed(
                "the provider answered with something that is not JSON",
                phase="body",
                detail=f"{error}; it begins {_beginning(relay.body)!r}",
            ) from None
    if relay.redaction is not None:
        tap.body = relay.redacted(tap.body)
    return tap


def _beginning(body: bytes) -> str:
    """Enough of an answer to tell what it is, for the log, which redacts it."""
    return body[:_SAMPLE].decode(errors="replace")
