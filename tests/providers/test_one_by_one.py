"""Many requests as one, over a transport under the test's hand."""

from __future__ import annotations

import asyncio
import json

import pytest

from llmgw.config.clouds import Bedrock as Settings
from llmgw.core.errors import UpstreamBroken, UpstreamError, UpstreamMalformed, UpstreamTimeout
from llmgw.dialects.embeddings_bedrock import separate
from llmgw.dialects.endpoints import INVOKE
from llmgw.ports.transport import Headers, Origin, Sink, Timeouts, UpstreamRequest
from llmgw.providers.bedrock import Bedrock
from llmgw.providers.one_by_one import OneByOne

MANY = json.dumps({"inputText": [f"t{number}" for number in range(20)]}, separators=(",", ":")).encode()
JSON: Headers = [(b"content-type", b"application/json"), (b"content-length", b"9")]


class Held:
    """A call that the test answers. Implements `ports.transport.Call`."""

    def __init__(self, request: UpstreamRequest, sink: Sink) -> None:
        self.request = request
        self.sink = sink
        self.dispatched = False
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def answer(self, body: bytes | None = None, status: int = 200) -> None:
        text = json.loads(self.request.body)["inputText"]
        self.sink.on_head(status, JSON, None)
        self.sink.on_chunk(body or b'{"embedding":[%s],"inputTextTokenCount":2}' % text[1:].encode())
        self.sink.on_end()


class Hand:
    """The transport."""

    def __init__(self) -> None:
        self.calls: list[Held] = []

    def send(self, request: UpstreamRequest, sink: Sink) -> Held:
        self.calls.append(Held(request, sink))
        return self.calls[-1]

    async def close(self) -> None: ...


class Heard:
    """The outer sink. log: what it heard, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.status = 0
        self.body = b""
        self.error: UpstreamError | None = None

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        assert b"content-length" not in dict(headers)
        self.log.append("head")
        self.status = status

    def on_chunk(self, data: bytes) -> None:
        self.log.append("chunk")
        self.body = data

    def on_end(self) -> None:
        self.log.append("end")

    def on_error(self, error: UpstreamError) -> None:
        self.log.append("error")
        self.error = error


def request(
    body: bytes = MANY, total_s: float = 60.0, head: bytes = b"POST / HTTP/1.1\r\n"
) -> UpstreamRequest:
    return UpstreamRequest(Origin("https", "x", 443), head, body, Timeouts(total_s=total_s))


async def test_a_few_at_a_time_and_in_order() -> None:
    hand, heard = Hand(), Heard()
    call = OneByOne(hand, None).send(request(), heard)
    begun = len(hand.calls)
    assert not call.dispatched
    for index in (7, 3, 0, 1, 2, 4, 5, 6):
        hand.calls[index].answer()
    for held in hand.calls[8:16]:
        held.answer()
    assert heard.log == []
    for held in hand.calls[16:]:
        held.answer()

    assert begun == 8
    assert len(hand.calls) == 20
    assert heard.log == ["head", "chunk", "end"]
    assert json.loads(heard.body) == {
        "embeddings": [[number] for number in range(20)],
        "inputTextTokenCount": 40,
    }
    assert call.dispatched


async def test_the_first_refusal_is_the_answer() -> None:
    hand, heard = Hand(), Heard()
    OneByOne(hand, None).send(request(), heard)
    hand.calls[0].answer()
    hand.calls[2].answer(b'{"message":"too long"}', 400)

    assert (heard.status, heard.body) == (400, b'{"message":"too long"}')
    assert heard.log == ["head", "chunk", "end"]
    assert all(held.cancelled for held in hand.calls if held not in (hand.calls[0], hand.calls[2]))
    assert len(hand.calls) == 9


async def test_a_connection_that_breaks() -> None:
    hand, heard = Hand(), Heard()
    OneByOne(hand, None).send(request(), heard)
    hand.calls[5].sink.on_error(UpstreamBroken("cut", phase="body"))

    assert heard.log == ["error"]
    assert isinstance(heard.error, UpstreamBroken)
    assert all(held.cancelled for held in hand.calls)


async def test_an_answer_that_is_none() -> None:
    hand, heard = Hand(), Heard()
    OneByOne(hand, None).send(request(b'{"inputText":["a1","a2"]}'), heard)
    hand.calls[0].answer()
    hand.calls[1].answer(b'{"hello":1}')

    assert heard.log == ["error"]
    assert isinstance(heard.error, UpstreamMalformed)


async def test_all_together_have_the_time_of_one() -> None:
    hand, heard = Hand(), Heard()
    OneByOne(hand, None).send(request(total_s=0.01), heard)
    await asyncio.sleep(0.1)

    assert isinstance(heard.error, UpstreamTimeout)
    assert all(held.cancelled for held in hand.calls)


async def test_a_client_that_leaves() -> None:
    hand, heard = Hand(), Heard()
    call = OneByOne(hand, None).send(request(), heard)
    hand.calls[0].dispatched = True
    call.cancel()

    assert all(held.cancelled for held in hand.calls)
    assert heard.log == []
    assert call.dispatched


async def test_a_sink_that_turns_away_at_the_head() -> None:
    hand, heard = Hand(), Heard()
    call = OneByOne(hand, None).send(request(b'{"inputText":["a1","a2"]}'), heard)
    told = heard.on_head

    def on_head(status: int, headers: Headers, length: int | None) -> None:
        told(status, headers, length)
        call.cancel()

    heard.on_head = on_head  # type: ignore[method-assign]
    for held in list(hand.calls):
        held.answer()

    assert heard.log == ["head"]


@pytest.mark.parametrize("body", [b'{"inputText":"a"}', b'{"texts":["a","b"]}', b'{"messages":[]}'])
async def test_everything_else_goes_on_as_it_is(body: bytes) -> None:
    hand, heard = Hand(), Heard()
    sent = request(body)
    call = OneByOne(hand, None).send(sent, heard)

    assert hand.calls == [call]
    assert hand.calls[0].request is sent
    assert hand.calls[0].sink is heard


async def test_each_is_signed_for_itself() -> None:
    """By its own body, once."""
    row = {"kind": "bedrock", "region": "us-east-1", "access_key_id": "AKID", "secret_access_key": "s"}
    provider = Bedrock("aws", Settings.model_validate({**row, "session_token": "t"}), None)
    head = provider.head(INVOKE, "amazon.titan-embed-text-v2:0", b"application/json")
    assert head is not None
    assert provider.signer is not None
    hand = Hand()
    whole = provider.signer.sign(head, MANY)
    body = (separate(MANY) or [])[0]
    before = provider.signer.sign(head, body)
    provider.over(hand).send(request(head=whole), Heard())
    first, second = (held.request for held in hand.calls[:2])

    # The second of the clock is signed too.
    assert first.body == body
    assert first.head in (before, provider.signer.sign(head, body))
    assert first.head.count(b"authorization:") == 1
    assert first.head.count(b"x-amz-security-token:") == 1
    assert first.head != second.head
