"""The request as its target must have it."""

from __future__ import annotations

import msgspec

from llmgw.core.errors import InvalidRequest
from llmgw.core.exchange import Exchange
from llmgw.core.operation import Operation
from llmgw.dialects.endpoints import GEMINI
from llmgw.engine.plan import Lane
from llmgw.wire.envelope import EnvelopeError

_encode = msgspec.json.Encoder().encode
_INCLUDE_USAGE = b'{"include_usage":true}'


def upstream_body(ex: Exchange, lane: Lane) -> bytes:
    """The body for `lane`, of the same dialect: the client's bytes, with few members spliced.

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
    # A route may have set another model than the body says.
    if (ex.model != lane.target.model or ex.route is not None) and ex.endpoint.dialect != GEMINI:
        edits["model"] = lane.model_json
    if ex.clamp is not None and ex.endpoint.dialect != GEMINI:
        edits[_cap_name(ex, lane)] = b"%d" % ex.clamp
    if ex.streamed and ex.endpoint.stream_usage and lane.provider.stream_usage(ex.endpoint):
        options = _stream_options(ex)
        if options is not None:
            edits["stream_options"] = options
            ex.hide_usage = True
    return envelope.spliced(edits)


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
