"""The request's body as something that can be looked into."""

from __future__ import annotations

import asyncio

from llmgw.core.errors import InvalidRequest, UnsupportedEncoding
from llmgw.core.exchange import Exchange
from llmgw.core.operation import BodyKind
from llmgw.wire.envelope import Envelope, EnvelopeError
from llmgw.wire.multipart import parse_form

_OFF_LOOP_BYTES = 1024 * 1024


async def open_body(ex: Exchange, loop: asyncio.AbstractEventLoop) -> None:
    """Fill in `envelope` or `form`. A body over 1 MiB is read in a thread, so that others go on.

    Raises InvalidRequest and UnsupportedEncoding.
    """
    encoding = ex.fields.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedEncoding("compressed request bodies are not accepted; send the body as it is")
    body = ex.body
    try:
        if ex.endpoint.body is BodyKind.JSON:
            if len(body) > _OFF_LOOP_BYTES:
                ex.envelope = await loop.run_in_executor(None, Envelope, body)
            else:
                ex.envelope = Envelope(body)
        else:
            content_type = ex.fields.get(b"content-type", b"").decode("latin-1")
            ex.form = parse_form(body, content_type)
    except EnvelopeError as error:
        raise InvalidRequest(str(error)) from None
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
