"""How a stream ends that did not end as it should, and how one begins that was none."""

from __future__ import annotations

import msgspec

from llmgw.core.errors import GatewayError
from llmgw.core.exchange import Exchange
from llmgw.core.operation import ARRAY, Operation
from llmgw.dialects.failures import error_event, responses_error_event
from llmgw.dialects.gemini_errors import error_element
from llmgw.dialects.taps import StreamedTap
from llmgw.dialects.translation import TranslatedStream
from llmgw.wire.sse import SseSplitter, event_data

MAX_ERROR = 256 * 1024
"""Bytes of an upstream's error that are read."""


def told_of(error: GatewayError, ex: Exchange, tap: StreamedTap | None) -> bytes:
    """The event that ends a stream in an error, in the client's dialect. tap: what made its events."""
    if isinstance(tap, TranslatedStream):
        return tap.fail(error)
    if ex.endpoint.stream == ARRAY:
        return error_element(error)
    request_id = ex.client_request_id or ex.request_id
    if ex.endpoint.operation is Operation.RESPONSES:
        return responses_error_event(error, request_id)
    return error_event(error, ex.error_dialect, request_id)


def unclosed_event(rest: bytes, *, failed: bool) -> bytes:
    """What comes after the last whole event, as an event; nothing when it was cut off within.

    failed: it is told as it is, since it says what went wrong.
    """
    if not rest:
        return b""
    data = event_data(rest + b"\n\n")
    return rest + b"\n\n" if failed or (data is not None and _is_whole(data)) else b""


def first_error(data: bytes) -> bytes:
    """The error that a stream began with, as JSON."""
    found = [said for raw in SseSplitter().feed(data) if (said := event_data(raw)) and b"error" in said]
    return found[-1] if found else data


def is_unclosed_error(data: bytes | bytearray) -> bool:
    """Whether a stream that was broken off within its first event was telling an error."""
    if b"error" not in data:
        return False
    try:
        told = msgspec.json.decode(first_error(bytes(data) + b"\n\n"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    if not isinstance(told, dict) or told.get("choices"):
        return False
    return told.get("type") == "error" or told.get("error") is not None


def _is_whole(data: bytes) -> bool:
    """Whether an event that was never closed has all its data."""
    if data.strip() == b"[DONE]":
        return True
    try:
        msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True
