"""Personal data and secrets reach neither a provider nor a client, in every dialect."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from llmgw.dialects.taps import WholeTap
from llmgw.engine.relay import Relay
from llmgw.engine.whole_answer import read_body
from llmgw.policies import redact
from tests.fakes.gateway import RunningGateway
from tests.fakes.kept import completion
from tests.fakes.raw_client import Answer
from tests.fakes.upstream import ScriptedUpstream, chunk, cut, end, event, headers, json_reply, raw, sse_head

MAIL, CARD, PHONE = "bob@example.com", "4111 1111 1111 1111", "+49 151 1234 5678"
IBAN, HOST, KEY = "DE89 3704 0044 0532 0130 00", "203.0.113.7", "sk-proj-abcdefghijklmnop1234567890"
CANARIES = (MAIL, CARD, PHONE, IBAN, HOST, KEY)
SAID = f"Write to {MAIL}, pay with {CARD} or {IBAN}, call {PHONE} from {HOST} with {KEY}!"
TOLD = "Write to [EMAIL], pay with [CREDIT_CARD] or [IBAN], call [PHONE] from [IP] with [SECRET]!"
ARGUMENTS = json.dumps({"to": MAIL, "n": 4111111111111111, "note": f"a\n{PHONE} 😀"})
ARGUMENTS_TOLD = {"to": "[EMAIL]", "n": "[CREDIT_CARD]", "note": "a\n[PHONE] 😀"}
EVERYTHING = "[email, phone, credit_card, iban, ip, secrets]"
BOTH = f"redaction: {{requests: {EVERYTHING}, responses: {EVERYTHING}}}"
PROVIDERS = """
claude: {{kind: anthropic, base_url: "{url}", api_key: k, allow_private: true}}
google: {{kind: gemini, base_url: "{url}/v1beta", api_key: k, allow_private: true}}
llama: {{kind: ollama, base_url: "{url}", allow_private: true}}
coherent: {{kind: cohere, base_url: "{url}", api_key: k, allow_private: true}}
new: {{kind: openai, base_url: "{url}/v1", api_key: k, allow_private: true}}
"""
MODELS = "\n".join(
    f"{name}: {{targets: [{{provider: {name}, model: m}}]}}"
    for name in ("claude", "google", "llama", "coherent", "new")
)
MODELS += "\npair: {targets: [{provider: up, model: a}, {provider: new, model: b}], hedge: {after: 5s}}"


def running(
    upstream: ScriptedUpstream, acme: str = BOTH, models: str = "", extra: str = ""
) -> RunningGateway:
    return RunningGateway(
        upstream,
        acme=acme,
        providers=PROVIDERS.format(url=upstream.base_url),
        models=f"{MODELS}\n{models}",
        extra=extra,
    )


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    async with running(upstream) as gateway:
        yield gateway


def clean(data: bytes) -> bool:
    """Whether no value is in it, however it is escaped."""
    text = data.decode()
    return not any(
        canary in one or canary.replace(" ", "") in one
        for canary in CANARIES
        for one in (text, json.dumps(text))
    )


CHAT = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": SAID},
        {"role": "user", "content": [{"type": "text", "text": SAID}, {"type": "new_kind", "words": [SAID]}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ARGUMENTS}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": SAID},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "description": SAID, "parameters": {"type": "object"}}}
    ],
    "user": MAIL,
    "unknown_member": {"kept": 1.50, "big": 123456789012345678901},
}
MESSAGES = {
    "model": "claude",
    "max_tokens": 10,
    "system": [{"type": "text", "text": SAID, "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": SAID},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": json.loads(ARGUMENTS)}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": SAID}]}
            ],
        },
    ],
    "unknown_member": [1.50],
}
RESPONSES = {
    "model": "new",
    "instructions": SAID,
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": SAID}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": ARGUMENTS},
        {"type": "function_call_output", "call_id": "c1", "output": SAID},
    ],
    "unknown_member": 1.50,
}
GEMINI = {
    "systemInstruction": {"parts": [{"text": SAID}]},
    "contents": [
        {"role": "user", "parts": [{"text": SAID}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": json.loads(ARGUMENTS)}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"id": SAID}}}]},
    ],
    "unknownMember": 1.50,
}
OLLAMA = {
    "model": "llama",
    "messages": [
        {"role": "user", "content": SAID},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": json.loads(ARGUMENTS)}}],
        },
        {"role": "tool", "content": SAID},
    ],
    "unknown_member": 1.50,
}
COHERE = {
    "model": "coherent",
    "messages": [{"role": "user", "content": SAID}],
    "documents": [{"data": {"text": SAID}}],
    "unknown_member": 1.50,
}
COMPLETION = {"model": "gpt-4o", "prompt": [SAID, "plain"], "unknown_member": 1.50}
EMBEDDINGS = {"model": "gpt-4o", "input": [SAID, "plain"], "unknown_member": 1.50}

ASKED = [
    ("/v1/chat/completions", CHAT),
    ("/v1/messages", MESSAGES),
    ("/v1/responses", RESPONSES),
    ("/v1beta/models/google:generateContent", GEMINI),
    ("/api/chat", OLLAMA),
    ("/v2/chat", COHERE),
    ("/v1/completions", COMPLETION),
    ("/v1/embeddings", EMBEDDINGS),
]


@pytest.mark.parametrize(("path", "body"), ASKED, ids=[path for path, _ in ASKED])
async def test_n07_no_value_reaches_a_provider(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str, body: dict[str, Any]
) -> None:
    """And all else does, unknown members by the bytes they came as."""
    upstream.script(json_reply({"error": {"message": f"no, {MAIL}"}}, 400))

    answer = await gateway.ask(body, path=path)

    sent = upstream.requests[0]
    assert clean(sent.head + sent.body)
    assert TOLD in json.dumps(sent.json)
    assert b"1.5" in sent.body
    assert answer.status == 400
    assert clean(answer.body)
    if path == "/v1/chat/completions":
        assert b'"unknown_member": {"kept": 1.5, "big": 123456789012345678901}' in sent.body
        told = sent.json["messages"][2]["tool_calls"][0]
        assert (told["id"], json.loads(told["function"]["arguments"])) == ("c1", ARGUMENTS_TOLD)


def thirds(text: str, size: int = 3) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def chat_stream() -> list[Any]:
    base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "new": {"kept": 1.50}}

    def chunk_of(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    return [
        chunk_of({"role": "assistant", "content": ""}),
        *(chunk_of({"reasoning_content": piece}) for piece in thirds(SAID)),
        *(chunk_of({"content": piece}) for piece in thirds(SAID)),
        chunk_of({"tool_calls": [call]}),
        *(
            chunk_of({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            for piece in thirds(ARGUMENTS)
        ),
        chunk_of({}, "tool_calls"),
        {**base, "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}},
        "[DONE]",
    ]


def messages_stream() -> list[Any]:
    def delta(index: int, kind: str, name: str, value: str) -> dict[str, Any]:
        return {
            "type": "content_block_delta",
            "index": index,
            "delta": {"type": kind, name: value},
            "new": 1.50,
        }

    def start(index: int, block: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": block}

    usage = {"input_tokens": 5, "output_tokens": 1}
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    return [
        {
            "type": "message_start",
            "message": {
                "id": "m1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "stop_reason": None,
                "usage": usage,
            },
        },
        start(0, {"type": "thinking", "thinking": "", "signature": ""}),
        *(delta(0, "thinking_delta", "thinking", piece) for piece in thirds(SAID)),
        delta(0, "signature_delta", "signature", "cHJvb2Y="),
        {"type": "content_block_stop", "index": 0},
        start(1, {"type": "text", "text": ""}),
        *(delta(1, "text_delta", "text", piece) for piece in thirds(SAID)),
        {"type": "content_block_stop", "index": 1},
        start(2, call),
        *(delta(2, "input_json_delta", "partial_json", piece) for piece in thirds(ARGUMENTS)),
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]


async def test_k06_openais_sdk_reads_a_redacted_stream(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(sse_head(), *map(event, chat_stream()), end())
    client = openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="sk-test", max_retries=0
    )

    text, thought, arguments, news, finish = "", "", "", set(), None
    async for one in await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "x"}], stream=True
    ):
        news.add(json.dumps(getattr(one, "new", None)))
        for choice in one.choices:
            text += choice.delta.content or ""
            thought += getattr(choice.delta, "reasoning_content", None) or ""
            for call in choice.delta.tool_calls or ():
                arguments += call.function.arguments or ""
            finish = choice.finish_reason or finish
    await client.close()

    assert (text, thought, json.loads(arguments), finish) == (TOLD, TOLD, ARGUMENTS_TOLD, "tool_calls")
    assert '{"kept": 1.5}' in news
    record = (await gateway.settled())[0]
    assert (record.input_tokens, record.output_tokens, record.usage_source) == (5, 7, "reported")
    assert ("response", "email", 3) in gateway.reports[0].redacted


async def test_k06_anthropics_sdk_reads_a_redacted_stream(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """The thought that was changed has no signature: it would not be its own."""
    events = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in messages_stream()]
    upstream.script(sse_head(), *map(chunk, events), end())
    client = anthropic.AsyncAnthropic(
        base_url=f"http://127.0.0.1:{gateway.port}", api_key="sk-test", max_retries=0
    )

    async with client.messages.stream(
        model="claude", max_tokens=9, messages=[{"role": "user", "content": "x"}]
    ) as stream:
        message = await stream.get_final_message()
    await client.close()

    thinking, text, call = message.content
    assert (thinking.thinking, thinking.signature) == (TOLD, "")
    assert text.text == TOLD
    assert (call.id, call.input) == ("t1", ARGUMENTS_TOLD)
    assert message.usage.output_tokens == 7


async def test_a_thought_that_was_not_changed_keeps_its_signature(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    events = json.dumps(messages_stream()).replace(MAIL[:3], "b")
    plain = [
        one
        for one in json.loads(events)
        if one.get("index") != 0 or one["type"] != "content_block_delta" or "signature" in one["delta"]
    ]
    upstream.script(sse_head(), *map(event, plain), end())

    answer = await gateway.ask({**MESSAGES, "stream": True}, path="/v1/messages")

    assert b'"signature": "cHJvb2Y="' in answer.body


def responses_stream() -> list[Any]:
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant"}
    part = {"type": "output_text", "text": SAID, "annotations": [], "logprobs": [{"token": "bob"}]}
    call = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": ARGUMENTS}
    events: list[Any] = [
        {"type": "response.created", "response": {"id": "r1", "status": "in_progress", "output": []}}
    ]
    events += [
        {
            "type": "response.output_text.delta",
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": piece,
            "logprobs": [{"token": piece}],
            "new": 1.50,
        }
        for piece in thirds(SAID)
    ]
    events += [
        {
            "type": "response.output_text.done",
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "text": SAID,
        },
        {"type": "response.output_item.done", "output_index": 0, "item": {**item, "content": [part]}},
    ]
    events += [
        {
            "type": "response.function_call_arguments.delta",
            "item_id": "fc_1",
            "output_index": 1,
            "delta": piece,
        }
        for piece in thirds(ARGUMENTS)
    ]
    events += [
        {
            "type": "response.function_call_arguments.done",
            "item_id": "fc_1",
            "output_index": 1,
            "arguments": ARGUMENTS,
        },
        {
            "type": "response.completed",
            "response": {
                "id": "r1",
                "output": [{**item, "content": [part]}, call],
                "usage": {"input_tokens": 5, "output_tokens": 7},
            },
        },
    ]
    return [{**one, "sequence_number": number} for number, one in enumerate(events)]


GEMINI_STREAM = [
    *(
        {
            "candidates": [
                {"index": 0, "content": {"role": "model", "parts": [{"text": piece, "thought": True}]}}
            ]
        }
        for piece in thirds(SAID)
    ),
    *(
        {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": piece}]}}], "new": 1.50}
        for piece in thirds(SAID)
    ),
    {
        "candidates": [
            {
                "index": 0,
                "content": {
                    "role": "model",
                    "parts": [{"functionCall": {"name": "f", "args": json.loads(ARGUMENTS)}}],
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7},
    },
]
OLLAMA_STREAM = [
    *(
        {"model": "m", "message": {"role": "assistant", "content": "", "thinking": piece}, "done": False}
        for piece in thirds(SAID)
    ),
    *(
        {"model": "m", "message": {"role": "assistant", "content": piece}, "done": False, "new": 1.50}
        for piece in thirds(SAID)
    ),
    {
        "model": "m",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "prompt_eval_count": 5,
        "eval_count": 7,
    },
]
COHERE_STREAM = [
    {"type": "message-start", "id": "m1", "delta": {"message": {"role": "assistant"}}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    *(
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}, "new": 1.50}
        for piece in thirds(SAID)
    ),
    {"type": "content-end", "index": 0},
    {
        "type": "tool-call-start",
        "index": 0,
        "delta": {
            "message": {
                "tool_calls": {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
            }
        },
    },
    *(
        {
            "type": "tool-call-delta",
            "index": 0,
            "delta": {"message": {"tool_calls": {"function": {"arguments": piece}}}},
        }
        for piece in thirds(ARGUMENTS)
    ),
    {"type": "tool-call-end", "index": 0},
    {
        "type": "message-end",
        "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 5, "output_tokens": 7}}},
    },
]
STREAMS = {
    "/v1/chat/completions": ({**CHAT, "stream": True}, chat_stream()),
    "/v1/messages": ({**MESSAGES, "stream": True}, messages_stream()),
    "/v1/responses": ({**RESPONSES, "stream": True}, responses_stream()),
    "/v1beta/models/google:streamGenerateContent?alt=sse": (GEMINI, GEMINI_STREAM),
    "/v1beta/models/google:streamGenerateContent": (GEMINI, GEMINI_STREAM),
    "/api/chat": (OLLAMA, OLLAMA_STREAM),
    "/v2/chat": ({**COHERE, "stream": True}, COHERE_STREAM),
}


def events_of(answer: Answer, path: str) -> list[Any]:
    """The events that a client reads."""
    if path.endswith("streamGenerateContent"):
        found: list[Any] = answer.json
        return found
    if path == "/api/chat":
        return [json.loads(line) for line in answer.body.splitlines()]
    data = [line.removeprefix(b"data: ") for line in answer.body.splitlines() if line.startswith(b"data: ")]
    return [json.loads(one) for one in data if one != b"[DONE]"]


def strings(value: Any, name: str) -> list[str]:
    """Every string under a name, in order."""
    if isinstance(value, list):
        return [one for inner in value for one in strings(inner, name)]
    if not isinstance(value, dict):
        return []
    found = [value[name]] if isinstance(value.get(name), str) else []
    return found + [one for inner in value.values() for one in strings(inner, name)]


@pytest.mark.parametrize("path", STREAMS)
async def test_k06_no_value_reaches_a_client(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str
) -> None:
    """In a stream of its own dialect; unknown members survive and the usage is what was reported."""
    body, stream = STREAMS[path]
    if path == "/api/chat":
        lines = [f"{json.dumps(one)}\n".encode() for one in stream]
        upstream.script(headers(200, {"content-type": "application/x-ndjson"}), *map(chunk, lines), end())
    else:
        upstream.script(sse_head(), *map(event, stream), end())

    answer = await gateway.ask(body, path=path)

    assert answer.status == 200
    assert clean(answer.body)
    events = events_of(answer, path)
    pieces = {
        name: "".join(strings(events, name))
        for name in ("content", "delta", "text", "thinking", "reasoning_content")
    }
    assert any(pieces[name].count(TOLD) for name in ("content", "delta", "text"))
    if "arguments" in json.dumps(stream[-3:]) or path == "/v2/chat":
        assert "[CREDIT_CARD]" in "".join(strings(events, "arguments")) + pieces["delta"]
    news = json.dumps(stream).count('"new": ')
    # The event with the usage that the client did not ask for is not theirs.
    assert json.dumps(events).count('"new": ') >= news - (path == "/v1/chat/completions")
    record = (await gateway.settled())[0]
    assert (record.input_tokens, record.output_tokens, record.usage_source) == (5, 7, "reported")


@pytest.mark.parametrize("path", STREAMS)
async def test_k06_no_value_reaches_a_client_across_dialects(upstream: ScriptedUpstream, path: str) -> None:
    """The echo answers with what it was asked, in its own dialect."""
    body = json.loads(json.dumps(STREAMS[path][0]).replace('"llama"', '"echo"'))
    body = {name: value for name, value in body.items() if name not in ("tools", "documents")}
    body["model"] = "echo"
    async with running(upstream, f"redaction: {{responses: {EVERYTHING}}}") as gateway:
        answer = await gateway.ask(body, path=path.replace("google", "echo"))

        assert answer.status == 200, answer.body
        assert clean(answer.body)
        assert b"[EMAIL]" in answer.body


WHOLE = {
    "/v1/chat/completions": (
        CHAT,
        {
            "id": "x",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7},
        },
    ),
    "/v1/messages": (
        MESSAGES,
        {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": SAID}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 7},
        },
    ),
    "/v1/responses": (
        RESPONSES,
        {
            "id": "r",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": SAID}]}],
            "usage": {"input_tokens": 5, "output_tokens": 7},
        },
    ),
    "/v1beta/models/google:generateContent": (
        GEMINI,
        {
            "candidates": [{"content": {"parts": [{"text": SAID}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7},
        },
    ),
    "/api/chat": (
        {**OLLAMA, "stream": False},
        {
            "model": "m",
            "message": {"role": "assistant", "content": SAID},
            "done": True,
            "prompt_eval_count": 5,
            "eval_count": 7,
        },
    ),
    "/v2/chat": (
        COHERE,
        {
            "id": "c",
            "message": {"role": "assistant", "content": [{"type": "text", "text": SAID}]},
            "finish_reason": "COMPLETE",
            "usage": {"tokens": {"input_tokens": 5, "output_tokens": 7}},
        },
    ),
}


@pytest.mark.parametrize("path", WHOLE)
async def test_n07_no_value_is_in_a_whole_answer(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str
) -> None:
    body, reply = WHOLE[path]
    upstream.script(json_reply({**reply, "new": {"kept": 1.50}}))

    answer = await gateway.ask(body, path=path)

    assert answer.status == 200
    assert clean(answer.body)
    assert TOLD in json.dumps(answer.json)
    assert answer.json["new"] == {"kept": 1.5}
    record = (await gateway.settled())[0]
    assert (record.input_tokens, record.output_tokens) == (5, 7)


async def test_a_stream_that_is_cut_tells_what_was_held_back_redacted(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """And then that it was cut."""
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Write to bob", "@example.com")
    ]
    upstream.script(sse_head(), *map(event, chunks), cut())

    answer = await gateway.ask({**CHAT, "stream": True})

    assert clean(answer.body)
    assert "".join(strings(events_of(answer, ""), "content")) == "Write to [EMAIL]"
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body


async def test_subtitles_are_redacted(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """A text that is no JSON, cut within a character."""
    text = f"1\n00:00 --> 00:01\né {SAID}\n".encode()
    upstream.script(
        headers(200, {"content-type": "text/vtt"}),
        *(chunk(text[at : at + 5]) for at in range(0, len(text), 5)),
        end(),
    )

    answer = await gateway.ask({"model": "gpt-4o", "input": "x", "voice": "y"}, path="/v1/audio/speech")

    assert answer.body.decode() == f"1\n00:00 --> 00:01\né {TOLD}\n"


async def test_fields_of_a_form_are_redacted_and_its_files_are_not(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(json_reply({"text": SAID}))
    client = openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="sk-test", max_retries=0
    )

    answer = await client.audio.transcriptions.create(
        model="gpt-4o", prompt=SAID, file=("a.wav", b"RIFF\x00 a@b.example.com")
    )
    await client.close()

    sent = upstream.requests[0].body
    assert TOLD.encode() in sent
    assert b"RIFF\x00 a@b.example.com" in sent
    assert answer.text == TOLD


async def test_a_fallback_is_told_no_more_than_its_own_model_would_be(upstream: ScriptedUpstream) -> None:
    """A model at home may be told; the one that it falls back on may not."""
    models = (
        "home: {targets: [{provider: up, model: h}], retry: {attempts: 2}, fallbacks: [{model: abroad}]}\n"
        "abroad: {targets: [{provider: up, model: a}], redaction: {requests: [email], responses: [phone]}}"
    )
    upstream.script(json_reply({"error": {"message": "no"}}, 500))
    upstream.script(
        json_reply(
            {"choices": [{"index": 0, "message": {"content": f"{MAIL} {PHONE}"}, "finish_reason": "stop"}]}
        )
    )
    async with running(upstream, "", models) as gateway:
        answer = await gateway.ask(
            {"model": "home", "messages": [{"role": "user", "content": f"{MAIL} {CARD}"}]}
        )

    first, second = (sent.json["messages"][0]["content"] for sent in upstream.requests)
    assert (first, second) == (f"{MAIL} {CARD}", f"[EMAIL] {CARD}")
    assert answer.json["choices"][0]["message"]["content"] == f"{MAIL} [PHONE]"


class Broken(Exception):
    """What a redaction may come to."""


def breaks(*_: object, **__: object) -> str:
    raise Broken(SAID)


@pytest.mark.parametrize("on_error", ["block", "pass"])
async def test_a_request_that_cannot_be_redacted(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    """It goes nowhere, or on as it is when that was asked for."""
    monkeypatch.setattr(redact, "rewritten", breaks)
    upstream.script(json_reply(WHOLE["/v1/chat/completions"][1]))
    async with running(upstream, f"redaction: {{requests: [email], on_error: {on_error}}}") as gateway:
        answer = await gateway.ask(CHAT)
        await gateway.quiet()
        report = gateway.reports[0]

    assert ("request", "failed", 1) in report.redacted
    if on_error == "block":
        assert (answer.status, answer.json["error"]["code"]) == (500, "redaction_failed")
        assert upstream.requests == []
        assert clean(json.dumps([report.detail, answer.json]).encode())
    else:
        assert answer.status == 200
        assert MAIL.encode() in upstream.requests[0].body


@pytest.mark.parametrize("on_error", ["block", "pass"])
async def test_a_whole_answer_that_cannot_be_redacted(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    upstream.script(json_reply(WHOLE["/v1/chat/completions"][1]))
    async with running(upstream, f"redaction: {{responses: [email], on_error: {on_error}}}") as gateway:
        monkeypatch.setattr(redact, "rewritten", breaks)
        answer = await gateway.ask(CHAT)

    if on_error == "block":
        assert (answer.status, answer.json["error"]["code"]) == (500, "redaction_failed")
        assert clean(answer.body)
    else:
        assert MAIL in answer.json["choices"][0]["message"]["content"]


@pytest.mark.parametrize("on_error", ["block", "pass"])
async def test_a_stream_that_cannot_be_redacted_any_more(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    """It ends in an error before anything that was not looked at; or goes on as it is."""
    from llmgw.engine import redacted

    real, calls = redacted.rewritten, iter(range(1000))

    def breaks_later(*args: Any, **how: Any) -> str:
        return real(*args, **how) if next(calls) < 4 else breaks()

    monkeypatch.setattr(redacted, "rewritten", breaks_later)
    upstream.script(sse_head(), *map(event, chat_stream()), end())
    models = "guarded: {targets: [{provider: up, model: g}], breaker: {min_calls: 1}}"
    acme = f"redaction: {{responses: {EVERYTHING}, on_error: {on_error}}}"
    async with running(upstream, acme, models) as gateway:
        answer = await gateway.ask({**CHAT, "model": "guarded", "stream": True})
        await gateway.quiet()
        report = gateway.reports[0]
        breaker = gateway.health("up", "g").breaker
        assert breaker is not None
        assert breaker.closed  # the fault is not the target's

    assert answer.status == 200
    if on_error == "block":
        assert clean(answer.body)
        assert b"redaction_failed" in answer.body
        assert b"[DONE]" not in answer.body
        assert (report.outcome, report.code) == ("error", "redaction_failed")
    else:
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert strings(events_of(answer, ""), "content")[-1] == thirds(SAID)[-1]


async def test_what_does_not_redact_has_no_trace_of_it(upstream: ScriptedUpstream) -> None:
    upstream.script(sse_head(), *map(event, chat_stream()), end())
    async with running(upstream, "") as gateway:
        answer = await gateway.ask({**CHAT, "stream": True, "stream_options": {"include_usage": True}})

    assert json.loads(upstream.requests[0].body) == {
        **CHAT,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert events_of(answer, "") == [one for one in chat_stream() if one != "[DONE]"]


async def test_the_answer_to_an_error_page_is_logged_in_part(upstream: ScriptedUpstream) -> None:
    """Two hundred characters, for the log, which redacts them."""
    upstream.script(
        raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n<html>" + b"x" * 3
        )
    )
    async with running(upstream, "") as gateway:
        answer = await gateway.ask(CHAT)

    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_malformed")
    assert "<html>" in (gateway.reports[0].detail or "")
    assert "html" not in answer.body.decode()


@pytest.mark.parametrize("model", ["gpt-4o", "pair"])
async def test_who_leaves_while_its_answer_is_redacted_is_billed_for_it(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """A long answer is redacted in a thread; the provider has reported by then what it used."""
    working, leaves = threading.Event(), threading.Event()

    def slowly(relay: Relay) -> WholeTap:
        working.set()
        leaves.wait(10)
        return read_body(relay)

    monkeypatch.setattr("llmgw.engine.attempt.read_body", slowly)
    upstream.script(json_reply(completion("x " * 20_000)))
    async with running(upstream, BOTH) as gateway:
        client = await gateway.open({**CHAT, "model": model})
        await asyncio.to_thread(working.wait, 10)
        await client.vanish(reset=True)
        await asyncio.sleep(0.1)
        leaves.set()
        (record,) = await gateway.settled(within_s=10)

    assert (record.input_tokens, record.output_tokens, record.usage_source) == (10, 5, "reported")
    assert (gateway.held, gateway.in_flight) == (0, 0)


async def test_n07_a_kept_answer_is_the_redacted_one(upstream: ScriptedUpstream) -> None:
    """The cache has what the client got, and gives it again without the provider."""
    upstream.script(json_reply(WHOLE["/v1/chat/completions"][1]))
    async with running(upstream, BOTH, extra="cache: {mode: exact}\n") as gateway:
        answers = [await gateway.ask(CHAT) for _ in range(2)]

    assert len(upstream.requests) == 1
    assert [answer.headers["x-llmgw-cache"] for answer in answers] == ["miss", "hit"]
    assert answers[0].body == answers[1].body
    assert clean(answers[1].body)


async def test_n07_a_replayed_answer_is_the_redacted_one(upstream: ScriptedUpstream) -> None:
    """The same for a duplicate of a request with an idempotency key, streamed."""
    upstream.script(sse_head(), *map(event, chat_stream()), end())
    key = {"idempotency-key": "0f8fad5b-d9cb-469f-a165-70867728950e"}
    async with running(upstream) as gateway:
        answers = [await gateway.ask({**CHAT, "stream": True}, headers=key) for _ in range(2)]

    assert len(upstream.requests) == 1
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert answers[0].body == answers[1].body
    assert clean(answers[1].body)
