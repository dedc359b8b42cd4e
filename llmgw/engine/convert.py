"""The request as its target must have it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from llmgw.core.errors import InvalidRequest
from llmgw.core.exchange import Exchange
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.embeddings_gemini import renamed
from llmgw.dialects.endpoints import GEMINI
from llmgw.engine.plan import Lane
from llmgw.tokens.need import NESTED_CAPS
from llmgw.wire.envelope import Envelope, EnvelopeError

_encode = msgspec.json.Encoder().encode
_INCLUDE_USAGE = b'{"include_usage":true}'


def upstream_body(ex: Exchange, lane: Lane, endpoint: Endpoint) -> bytes:
    """The body for `lane`, of the same dialect: the client's bytes, with few members spliced.

    endpoint: where the target is asked.

    Asks for the usage of a stream where the client did not, and notes to hide it from them.
    Raises InvalidRequest.
    """
    envelope = ex.envelope
    if envelope is None:
        assert ex.form is not None
        if ex.model == lane.target.model and ex.route is None:
            return ex.body
        return ex.form.spliced({"model": lane.target.model})
    edits: dict[str, bytes] = {}
    dialect = ex.endpoint.dialect
    # A route may have set another model than the body says.
    if ex.model != lane.target.model or ex.route is not None:
        if dialect != GEMINI:
            edits["model"] = lane.model_json
        elif ex.endpoint.operation is Operation.EMBEDDINGS:
            edits |= renamed(envelope, lane.target.model)
    if ex.clamp is not None:
        if dialect in NESTED_CAPS:
            edits |= _nested_cap(envelope, *NESTED_CAPS[dialect], ex.clamp)
        else:
            edits[_cap_name(ex, lane)] = b"%d" % ex.clamp
    if ex.streamed and ex.endpoint.stream_usage and lane.provider.stream_usage(ex.endpoint):
        options = _stream_options(ex)
        if options is not None:
            edits["stream_options"] = options
            ex.hide_usage = True
    if endpoint.members:
        return with_members(envelope, (*edits.items(), *endpoint.members))
    return envelope.spliced(edits)


def with_members(envelope: Envelope, members: Iterable[tuple[str, bytes | None]]) -> bytes:
    """The body with some top-level members set, and those of None left out."""
    values: dict[str, bytes | None] = {**envelope.members, **dict(members)}
    return b"{%b}" % b",".join(
        b"%b:%b" % (_encode(name), value) for name, value in values.items() if value is not None
    )


def _nested_cap(envelope: Envelope, outer: str, inner: str, cap: int) -> dict[str, bytes]:
    """A cap inside another member. What is no object there is left for the provider to refuse."""
    try:
        options = envelope.value(outer)
    except EnvelopeError:
        return {}
    if options is not None and not isinstance(options, dict):
        return {}
    return {outer: _encode({**(options or {}), inner: cap})}


def _cap_name(ex: Exchange, lane: Lane) -> str:
    """The member that caps the answer. OpenAI's newer models refuse the old name, others know no other."""
    if ex.endpoint.operation is Operation.RESPONSES:
        return "max_output_tokens"
    if ex.endpoint.operation is Operation.CHAT and (
        lane.target.kind == "openai" or lane.target.vendor == "azure"
    ):
        return "max_completion_tokens"
    return "max_tokens"


def _stream_options(ex: Exchange) -> bytes | None:
    """The `stream_options` to send, or None when the client's own already ask for usage."""
    envelope = ex.envelope
    assert envelope is not None
    if "stream_options" not in envelope.members:
        return _INCLUDE_USAGE
    try:
        options = envelope.value("stream_options")
    except EnvelopeError as error:
        raise InvalidRequest(str(error), param="stream_options") from None
    if options is None:
        return _INCLUDE_USAGE
    if not isinstance(options, dict):
        raise InvalidRequest("member 'stream_options' must be an object", param="stream_options")
    if options.get("include_usage") is True:
        return None
    return _encode({**options, "include_usage": True})
