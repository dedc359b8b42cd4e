"""The request's body as something that can be looked into."""

from __future__ import annotations

from llmgw.core.errors import InvalidRequest, UnsupportedEncoding
from llmgw.core.exchange import Exchange
from llmgw.core.operation import BodyKind
from llmgw.wire.envelope import Envelope, EnvelopeError
from llmgw.wire.multipart import parse_form

OFF_LOOP_BYTES = 1024 * 1024
"""A body above this is opened in a thread, so that other requests go on meanwhile."""


def open_body(ex: Exchange) -> None:
    """Fill in `envelope` or `form`, and from it `model` and `streamed`.

    Raises InvalidRequest and UnsupportedEncoding.
    """
    encoding = ex.fields.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedEncoding("compressed request bodies are not accepted; send the body as it is")
    try:
        if ex.endpoint.body is BodyKind.JSON:
            ex.envelope = envelope = Envelope(ex.body)
            if ex.model is None:
                ex.model = envelope.text("model")
                ex.streamed = envelope.flag("stream")
        else:
            ex.form = form = parse_form(ex.body, ex.fields.get(b"content-type", b"").decode("latin-1"))
            ex.model = form.field("model")
            ex.streamed = form.field("stream") == "true"
    except EnvelopeError as error:
        raise InvalidRequest(str(error), param=error.member) from None
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    if not ex.model:
        raise InvalidRequest("the body has no 'model'", param="model")
