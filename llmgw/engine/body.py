"""The request's body as something that can be looked into."""

from __future__ import annotations

import msgspec

from llmgw.core.errors import InvalidRequest, UnsupportedEncoding
from llmgw.core.exchange import Exchange
from llmgw.core.operation import BodyKind, Operation
from llmgw.dialects.endpoints import GEMINI, OLLAMA
from llmgw.wire.envelope import Envelope, EnvelopeError
from llmgw.wire.multipart import Form, parse_boundary, parse_form

_ANSWERED_WHOLE = frozenset({Operation.EMBEDDINGS, Operation.RERANK})
OFF_LOOP_BYTES = 1024 * 1024
"""A body above this is opened in a thread, so that other requests go on meanwhile."""


def open_body(ex: Exchange) -> None:
    """Fill in `envelope` or `form`, and from it `model` and `streamed`.

    A model that the path named holds: the body is made to name it too, except in Gemini's
    dialect, where the path also says whether the answer is a stream.
    Raises InvalidRequest and UnsupportedEncoding.
    """
    encoding = ex.fields.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedEncoding("compressed request bodies are not accepted; send the body as it is")
    try:
        if ex.endpoint.body is BodyKind.JSON:
            _open_json(ex)
        else:
            _open_form(ex)
    except EnvelopeError as error:
        raise InvalidRequest(str(error), param=error.member) from None
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    if not ex.model:
        raise InvalidRequest("the body has no 'model'", param="model")


def _open_json(ex: Exchange) -> None:
    ex.envelope = envelope = Envelope(ex.body)
    dialect = ex.endpoint.dialect
    if dialect == GEMINI:
        return
    if ex.endpoint.operation in _ANSWERED_WHOLE:
        ex.streamed = False
    elif dialect == OLLAMA and bytes(envelope.members.get("stream", b"null")) == b"null":
        ex.streamed = True
    else:
        ex.streamed = envelope.flag("stream")
    if ex.model is None:
        ex.model = envelope.text("model")
    elif bytes(envelope.members.get("model", b"")) != (named := msgspec.json.encode(ex.model)):
        ex.body = envelope.spliced({"model": named})
        ex.envelope = Envelope(ex.body)


def _open_form(ex: Exchange) -> None:
    content_type = ex.fields.get(b"content-type", b"").decode("latin-1")
    ex.form = form = parse_form(ex.body, content_type)
    ex.streamed = form.field("stream") == "true"
    model = form.field("model")
    if ex.model is None:
        ex.model = model
    elif model != ex.model:
        ex.body = _naming(form, content_type, ex.model, absent=model is None)
        ex.form = parse_form(ex.body, content_type)
        if ex.form.field("model") != ex.model:
            raise ValueError("the model in the path cannot be the value of a form field")


def _naming(form: Form, content_type: str, model: str, *, absent: bool) -> bytes:
    """The form with `model` in the field of that name."""
    if not absent:
        return form.spliced({"model": model})
    return b'--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n%b' % (
        parse_boundary(content_type),
        model.encode(),
        form.raw.removeprefix(b"\r\n"),
    )
