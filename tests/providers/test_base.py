from __future__ import annotations

import pytest

from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.providers.base import request_head

CHAT = ENDPOINTS["/v1/chat/completions"]


def test_fields_stand_between_host_and_the_fixed_ones() -> None:
    head = request_head("https://h.test", CHAT, b"multipart/form-data; boundary=x", (("x-a", "1"),))

    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /chat/completions HTTP/1.1"
    assert lines[1:3] == [b"host: h.test", b"x-a: 1"]
    assert b"content-type: multipart/form-data; boundary=x" in lines
    assert b"accept-encoding: identity" in lines


@pytest.mark.parametrize("value", ["", " ", "a\r\nb: c", "a\nb", "a\0", "a\x7f", "ключ"])
def test_value_that_cannot_be_sent(value: str) -> None:
    with pytest.raises(ValueError, match="x-secret"):
        request_head("https://h.test", CHAT, b"application/json", (("x-secret", value),))
