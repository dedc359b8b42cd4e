from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from llmgw.config.clouds import Bedrock as Settings
from llmgw.core.operation import Operation
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, CONVERSE, CONVERSE_STREAM, INVOKE
from llmgw.providers.bedrock import Bedrock

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
BODY = b'{"messages":[]}'


def made(**members: Any) -> Bedrock:
    row = {"region": "us-east-1", "access_key_id": "AKID", "secret_access_key": "sk-secret"} | members
    return Bedrock("aws", Settings.model_validate({"kind": "bedrock", **row}), None)


def signed(provider: Bedrock, model: str = MODEL) -> dict[str, str]:
    head = provider.head(CONVERSE, model, b"application/json")
    assert head is not None
    assert provider.signer is not None
    first, *lines = provider.signer.sign(head, BODY).decode().removesuffix("\r\n").split("\r\n")
    rows = (line.partition(": ") for line in lines)
    return {"": first.split(" ")[1], **{name: value for name, _, value in rows}}


def signature(fields: dict[str, str], names: str, path: str) -> str:
    """As AWS describes it ("Create a signed AWS API request"), by hand."""

    def mac(key: bytes, text: str) -> bytes:
        return hmac.new(key, text.encode(), hashlib.sha256).digest()

    at = fields["x-amz-date"]
    canonical = "\n".join(
        [
            "POST",
            path,
            "",
            *(f"{name}:{fields[name]}" for name in names.split(";")),
            "",
            names,
            hashlib.sha256(BODY).hexdigest(),
        ]
    )
    scope = f"{at[:8]}/us-east-1/bedrock/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4sk-secret"
    for word in scope.split("/"):
        key = mac(key, word)
    return mac(key, text).hex()


def test_the_model_stands_in_the_path() -> None:
    head = made().head(CONVERSE_STREAM, MODEL, b"application/json")

    assert head is not None
    path = b"/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    assert head.startswith(b"POST " + path + b" HTTP/1.1\r\n")
    assert b"host: bedrock-runtime.us-east-1.amazonaws.com\r\n" in head


def test_requests_are_signed() -> None:
    """Path segments are encoded once more in what is signed, as AWS does for all but S3."""
    fields = signed(made())
    names = "content-type;host;x-amz-date"
    path = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%253A0/converse"

    assert fields["authorization"] == (
        f"AWS4-HMAC-SHA256 Credential=AKID/{fields['x-amz-date'][:8]}/us-east-1/bedrock/aws4_request, "
        f"SignedHeaders={names}, Signature={signature(fields, names, path)}"
    )
    assert "sk-secret" not in repr(fields)
    assert "x-amz-security-token" not in fields


def test_temporary_credentials_show_their_token() -> None:
    fields = signed(made(session_token="token"), "m")
    names = "content-type;host;x-amz-date;x-amz-security-token"

    assert fields["x-amz-security-token"] == "token"
    assert fields["authorization"].endswith(signature(fields, names, "/model/m/converse"))


def test_a_base_url_of_ones_own_is_what_is_signed() -> None:
    fields = signed(made(base_url="https://proxy.example.com:8443/aws"), "m")

    assert fields[""] == "/aws/model/m/converse"
    assert fields["host"] == "proxy.example.com:8443"
    assert fields["authorization"].endswith(
        signature(fields, "content-type;host;x-amz-date", "/aws/model/m/converse")
    )


@pytest.mark.parametrize("model", ["../../files", "a?key=b", "a b", "arn:aws:bedrock:x/y", "a\r\nx: y"])
def test_a_model_cannot_leave_its_place(model: str) -> None:
    """Where every name is passed on, the name is the caller's."""
    head = made().head(CONVERSE, model, b"application/json")

    assert head is not None
    target = head.split(b" ")[1]
    assert target.count(b"/") == 3
    assert target.endswith(b"/converse")
    assert b"?" not in target
    assert head.count(b"\r\n") == 5


@pytest.mark.parametrize("member", ["access_key_id", "session_token"])
def test_credentials_that_no_header_can_carry(member: str) -> None:
    """A space cannot be in one, and the value is not shown."""
    with pytest.raises(ValueError, match="no header can carry") as caught:
        made(**{member: "AK ID"}).head(CONVERSE, "m", b"application/json")

    assert "AK ID" not in str(caught.value)


def test_other_dialects_are_not_served() -> None:
    provider = made()

    assert provider.head(CHAT_COMPLETIONS, "m", b"application/json") is None
    assert provider.own_endpoint(Operation.CHAT, "m", True) is CONVERSE_STREAM
    assert provider.own_endpoint(Operation.CHAT, "m", False) is CONVERSE
    assert not provider.stream_usage(CONVERSE_STREAM)


def test_a_key_of_bedrocks_own_is_a_bearer_token() -> None:
    settings = Settings.model_validate({"kind": "bedrock", "region": "us-east-1", "api_key": "ABSK-key"})
    provider = Bedrock("aws", settings, "ABSK-key")
    head = provider.head(CONVERSE, MODEL, b"application/json")

    assert provider.signer is None
    assert head is not None
    assert b"authorization: Bearer ABSK-key\r\n" in head


def test_embeddings_of_the_families_that_are_known() -> None:
    provider = made()
    titan = "amazon.titan-embed-text-v2:0"
    head = provider.head(INVOKE, titan, b"application/json")

    assert provider.own_endpoint(Operation.EMBEDDINGS, titan, False) is INVOKE
    assert provider.own_endpoint(Operation.EMBEDDINGS, "us.cohere.embed-v4:0", False) is INVOKE
    assert provider.own_endpoint(Operation.EMBEDDINGS, MODEL, False) is None
    assert head is not None
    assert head.startswith(b"POST /model/amazon.titan-embed-text-v2%3A0/invoke HTTP/1.1\r\n")
